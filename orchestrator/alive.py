"""A service's sign of life: a file that it touches as long as it makes its rounds.

`python -m orchestrator.alive` tells whether the one that NEUTRINO_ALIVE_FILE names was touched in the last minute;
images and pods probe with it. Without the variable there is no file: on one machine a supervisor looks after them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

FRESH_SECONDS = 60.0
_NAME = "NEUTRINO_ALIVE_FILE"
_EVERY_SECONDS = 1.0


class Alive:
    """Touches the file when `beat` is called, at most once a second."""

    def __init__(self) -> None:
        named = os.environ.get(_NAME)
        self._file = Path(named) if named else None
        self._due = 0.0

    def beat(self) -> None:
        """The service has just been around once more."""
        if self._file is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + _EVERY_SECONDS
            self._file.touch()


async def keep_beating() -> None:
    """Beat for as long as the event loop turns. Ends when it is cancelled."""
    alive = Alive()
    while True:
        alive.beat()
        await asyncio.sleep(_EVERY_SECONDS)


def is_fresh(file: Path) -> bool:
    """Whether the file was touched lately."""
    try:
        return time.time() - file.stat().st_mtime < FRESH_SECONDS
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    watched = os.environ.get(_NAME)
    if not watched:
        sys.exit(f"{_NAME} is not set. Set it to the file that the service touches.")
    if not is_fresh(Path(watched)):
        sys.exit(f"{watched} was not touched in the last {FRESH_SECONDS:g} seconds.")
