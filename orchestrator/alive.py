"""A service's sign of life: a file that it touches as long as it makes its rounds.

`python -m orchestrator.alive` tells whether the one that NEUTRINO_ALIVE_FILE names was touched in the last minute;
images and pods probe with it. Without the variable there is no file: on one machine a supervisor looks after them.

Workers answer on NEUTRINO_ALIVE_BIND (`:8471`) instead, with 200 to whatever is asked. A probe that is a command would
run with the container's environment, credentials included, among the jobs, which may read it below /proc.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

log = logging.getLogger(__name__)

FRESH_SECONDS = 60.0
_NAME = "NEUTRINO_ALIVE_FILE"
_BIND = "NEUTRINO_ALIVE_BIND"
_EVERY_SECONDS = 1.0


class Alive:
    """Touches the file when `beat` is called, at most once a second. Where it cannot, the log says why: probes will
    only see that nobody has touched it."""

    def __init__(self) -> None:
        named = os.environ.get(_NAME)
        self._file = Path(named) if named else None
        self._due = 0.0

    def beat(self) -> None:
        """The service has just been around once more."""
        if self._file is not None and time.monotonic() >= self._due:
            self._due = time.monotonic() + _EVERY_SECONDS
            try:
                self._file.touch()
            except OSError as error:
                log.error("%s: %s cannot be touched: %s", _NAME, self._file, error.strerror)


async def keep_beating() -> None:
    """Beat, and answer probes, for as long as the event loop turns. Ends when it is cancelled. Raises NeutrinoError
    when it cannot listen where it is to."""
    from orchestrator.domain.errors import NeutrinoError  # noqa: PLC0415 - probes run this module, and need it quickly
    from orchestrator.settings import bind  # noqa: PLC0415

    alive = Alive()
    if where := bind(_BIND):
        try:
            await asyncio.start_server(_answer, where[0] or None, where[1])
        except OSError as error:
            hint = "Set it to an address of this machine with a port that nobody else has."
            raise NeutrinoError(f"{_BIND} is {os.environ[_BIND]!r}: {error.strerror}.", hint=hint) from error
    while True:
        alive.beat()
        await asyncio.sleep(_EVERY_SECONDS)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ValueError):
        async with asyncio.timeout(_EVERY_SECONDS):
            await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
    writer.close()


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
