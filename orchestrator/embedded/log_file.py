"""The log of one child process: bounded in size, and quotable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import IO

LIMIT_BYTES = 10 * 1024 * 1024
_QUOTE_BYTES = 64 * 1024


def open_for(path: Path) -> IO[bytes]:
    """The log, open for the child to append to."""
    return path.open("ab", buffering=0)


def size(path: Path) -> int:
    """The present size in bytes, 0 for a log that does not exist yet."""
    return path.stat().st_size if path.exists() else 0


def rotate(path: Path, limit: int = LIMIT_BYTES) -> None:
    """Move a log that has grown beyond `limit` bytes to `<name>.1`, replacing what was there.

    The content is copied and the file emptied in place, because the child keeps writing to the file that it
    has open. It appends, so it goes on at the new end. Lines written between the two steps are lost.
    """
    if size(path) > limit:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate(0)


def tail(path: Path, lines: int = 20, since: int = 0) -> list[str]:
    """The last `lines` lines written after the byte `since`."""
    end = size(path)
    start = since if since <= end else 0  # it was emptied since
    if end == 0:
        return []
    with path.open("rb") as file:
        file.seek(max(start, end - _QUOTE_BYTES))
        return file.read().decode(errors="replace").splitlines()[-lines:]
