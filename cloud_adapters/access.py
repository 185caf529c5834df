"""How a cloud says where one of its clusters is, and who we are to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


class Renewed:
    """A token that is asked for again shortly before it ends. `ask` gives a token and its end, in seconds since the
    epoch."""

    def __init__(self, ask: Callable[[], tuple[str, float]], margin: float = 120.0) -> None:
        self._ask = ask
        self._margin = margin
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    def __call__(self) -> str:
        """The token, good for at least `margin` seconds."""
        with self._lock:
            if time.time() > self._until - self._margin:
                self._token, self._until = self._ask()
            return self._token


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A cluster's API server, the certificate authority that vouches for it (base64 PEM), and what gives a token that
    is still good."""

    server: str
    ca: str
    token: Callable[[], str]
