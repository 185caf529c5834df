"""The folder in which programs of any language leave checkpoints: `$NEUTRINO_CHECKPOINT_DIR`.

A program writes a folder named after the step, and a file DONE in it last. That folder is taken away, published, and
removed. While somebody wants a checkpoint now, there is a file WANTED beside the steps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.sdk.plan import DONE, WANTED

_TAKEN = ".taken-"
_MOST_DIGITS = 15


class LeftCheckpoint:
    """A folder that a program has finished, and left here; it is not waiting for an answer."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.step = step

    def answer(self, _error: str | None) -> None:
        """It has been published or refused: its bytes here are not needed any more."""
        shutil.rmtree(self.path, ignore_errors=True)


class WatchedFolder:
    """The checkpoints that a program leaves in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def want(self) -> None:
        """Tell the program that a checkpoint is wanted now."""
        with contextlib.suppress(OSError):  # the program has removed the folder: it does not want to hear
            (self._folder / WANTED).touch()

    def take(self) -> Iterator[LeftCheckpoint]:
        """The checkpoints that have been finished since the last look, in the order of their steps."""
        for step in sorted(self._finished()):
            taken = self._folder / f"{_TAKEN}{step}"
            with contextlib.suppress(OSError):  # the program is quicker than we are, and has removed it
                (self._folder / str(step)).rename(taken)
                (taken / DONE).unlink()
                (self._folder / WANTED).unlink(missing_ok=True)
                yield LeftCheckpoint(taken, step)

    def _finished(self) -> list[int]:
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
            steps = [name for name in names if name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS]
            return [int(name) for name in steps if str(int(name)) == name and (self._folder / name / DONE).is_file()]
        return []
