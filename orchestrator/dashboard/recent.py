"""What many tabs ask for at once is worked out once."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
Key = tuple[object, ...]

_LIFETIME_SECONDS = 1.0
_MOST = 256


class Recent:
    """Answers that are at most seconds old. A key holds the number of the latest change, so none is out of date."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[float, object]] = {}
        self._locks: defaultdict[Key, threading.Lock] = defaultdict(threading.Lock)

    def get(self, key: Key, make: Callable[[], Found], seconds: float = _LIFETIME_SECONDS) -> Found:
        """The answer for `key`, at most so old; whoever asks while it is being worked out waits for it."""
        with self._locks[key]:
            known = self._known.get(key)
            if known is not None and time.monotonic() - known[0] < seconds:
                return known[1]  # type: ignore[return-value]
            found = make()
            if len(self._known) > _MOST:
                self._known.clear()
                self._locks = defaultdict(threading.Lock)
            self._known[key] = (time.monotonic(), found)
            return found
