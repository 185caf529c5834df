"""Files and folders into which several processes write at the same time, and in which any of them may die."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloud_adapters.base import Bytes

TIDIED_AWAY = 100
"""How often in a row a folder may be taken away by others before that is an error."""
Made = TypeVar("Made")


def entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing in one that is not there."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def is_locked(descriptor: int) -> bool:
    """Locks a new file, so that others see that its writer lives. False when somebody has just swept it away. Where a
    file system knows no locks, nobody sweeps."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return os.fstat(descriptor).st_nlink > 0


def removed_if_abandoned(file: Path) -> bool:
    """Whether the writer of `file` has died, so that it could be removed."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.unlink(missing_ok=True)
    except OSError:  # its writer lives, or there are no locks here
        return False
    finally:
        os.close(descriptor)
    return True


def within(folder: Path, step: Callable[[], Made]) -> Made:
    """Does `step` in `folder`, which is made, and made again when another writer has taken it away for being empty."""
    for left in reversed(range(TIDIED_AWAY)):
        made = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made = True
            return step()
        except (FileNotFoundError, FileExistsError) as error:
            if not left or (made and isinstance(error, FileExistsError)):
                raise
    raise AssertionError("unreachable: the last turn returns or raises")


def write_at(descriptor: int, data: Bytes, offset: int) -> None:
    """Writes all of `data`, however many calls that takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def sync(path: Path) -> None:
    """Makes a file's content, or a folder's names, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
