"""One owner per data folder: an advisory lock that the kernel drops when its owner dies."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.embedded import folder
from orchestrator.embedded.errors import AlreadyRunning
from orchestrator.embedded.process import Identity

_LOCK = "lock"
_NOTE = "owner.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a folder's lock: its process, and its address once it serves. Each is None until noted."""

    identity: Identity | None = None
    url: str | None = None


class FolderLock:
    """An exclusive lock on a folder, with a note beside it that tells other processes who has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock for this process.

        Raises:
            AlreadyRunning: somebody has it; the message names their pid and address.
        """
        self._descriptor = _lock(self._path)
        if self._descriptor is None:
            raise taken(self._path)
        self.note(None)

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._descriptor is not None

    def note(self, url: str | None) -> None:
        """Tell others the address under which the owner of this folder serves."""
        note = {"identity": asdict(Identity.of(os.getpid())), "url": url}
        folder.write(self._path / _NOTE, json.dumps(note))

    def release(self) -> None:
        """Give the lock up, if this object has it."""
        if self._descriptor is not None:
            (self._path / _NOTE).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def owner(path: Path) -> Owner | None:
    """The owner of the folder's lock, or None when nobody has it."""
    if not (path / _LOCK).exists():
        return None
    descriptor = _lock(path)
    if descriptor is not None:
        os.close(descriptor)
        return None
    text = folder.read(path / _NOTE)
    if text is None:
        return Owner()
    note = json.loads(text)
    return Owner(Identity(**note["identity"]), note["url"])


def _lock(path: Path) -> int | None:
    # Children do not inherit it: Python opens files with close-on-exec.
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise folder.unusable(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def taken(path: Path) -> AlreadyRunning:
    """The error for a folder that another process uses."""
    holder = owner(path) or Owner()
    pid = holder.identity.pid if holder.identity else None
    who = f"process {pid}" if pid else "another process"
    at = f" at {holder.url}" if holder.url else ""
    return AlreadyRunning(
        f"The data folder {path} is in use by {who}{at}.",
        hint=f"Use that one, stop it with `neutrino down --data-dir {path}`, or choose another folder with --data-dir.",
        pid=pid,
        url=holder.url,
    )
