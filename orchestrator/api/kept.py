"""What is dear to make and good for a while, such as an opened store: few of them, and none for long."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by key: the `most` that were used last, each for `seconds` after it was made. For any thread."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._values: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value, made when there is none that is still good. What `make` raises is not kept."""
        now = time.monotonic()
        with self._lock:
            found = self._values.get(key)
            if found is not None and found[0] > now:
                self._values.move_to_end(key)
                return found[1]
        value = make()  # by two threads at once perhaps: better than that one waits for the other's slow store
        with self._lock:
            for old in [one for one, (until, _) in self._values.items() if until <= now]:
                del self._values[old]
            self._values[key] = (now + self._seconds, value)
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return value
