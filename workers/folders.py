"""The folders that attempts run in. They are used again: making one costs a millisecond, as much as a whole no-op job.

Each looks the way `orchestrator.sdk.plan` says. One in which an attempt left something is not used again.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from pathlib import Path

from orchestrator.sdk.plan import CHANNEL, CHECKPOINTS, OUTPUT, PLAN, WORK

_MODE = 0o700
_EMPTY = (WORK, OUTPUT, CHECKPOINTS)
_FIRST_CONTENT = {*_EMPTY, CHANNEL}


class Folders:
    """Hands out folders below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._free: list[Path] = []
        self._numbers = itertools.count(1)

    def take(self) -> Path:
        """A folder with empty folders for work, output and checkpoints, and a channel."""
        if self._free:
            return self._free.pop()
        folder = self._root / str(next(self._numbers))
        for path in (folder, *(folder / name for name in _EMPTY)):
            path.mkdir(mode=_MODE)
        os.mkfifo(folder / CHANNEL, 0o600)
        return folder

    def give_back(self, folder: Path) -> bool:
        """Keep a folder for the next attempt. False when it is not as it was: then `remove` it, which may take long."""
        if not _pristine(folder):
            return False
        self._free.append(folder)
        return True


def _pristine(folder: Path) -> bool:
    names = {entry.name for entry in os.scandir(folder)} - {PLAN}
    if names != _FIRST_CONTENT or not stat.S_ISFIFO((folder / CHANNEL).lstat().st_mode):
        return False
    for path in (folder, *(folder / name for name in _EMPTY)):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) != _MODE:
            return False
    return not any(any(os.scandir(folder / name)) for name in _EMPTY)


def remove(folder: Path) -> None:
    """Remove a folder and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
