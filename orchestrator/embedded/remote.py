"""Looking at, and stopping, what another process runs on a data folder."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.embedded import folder, lock, services
from orchestrator.embedded.errors import AlreadyRunning
from orchestrator.embedded.keeper import ChildStatus
from orchestrator.embedded.lock import FolderLock
from orchestrator.embedded.process import Identity
from orchestrator.embedded.supervisor import children_of, stop_leftovers

_GRACE_S = 120.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class StackStatus:
    """What runs on a data folder. `pid` is the supervising process, `url` the API's address once all is up."""

    pid: int | None
    url: str | None
    ready: bool
    children: tuple[ChildStatus, ...]

    @property
    def running(self) -> bool:
        """Whether somebody runs, or is starting, a stack here."""
        return self.pid is not None


def status(data_dir: Path) -> StackStatus:
    """What runs on the folder now."""
    owner = lock.owner(data_dir)
    if owner is None or owner.identity is None:
        return StackStatus(None, None, ready=False, children=())
    children = children_of(data_dir, owner.identity.pid)
    ready = owner.url is not None and services.answers(owner.url)
    return StackStatus(owner.identity.pid, owner.url, ready, tuple(children))


def stop(data_dir: Path) -> None:
    """Ask the process that owns the folder to end, and make sure that nothing of it is left.

    Raises:
        AlreadyRunning: it did not end, or another has taken its place meanwhile.
        DataFolderError: it belongs to somebody else.
    """
    if not data_dir.is_dir():
        return
    if (identity := _owner(data_dir)) is not None:
        _end(data_dir, identity)
    own = FolderLock(data_dir)
    own.acquire()
    stop_leftovers(data_dir)
    own.release()


def _owner(data_dir: Path) -> Identity | None:
    """Who holds the lock. One who has just taken it is about to write its name."""
    while (owner := lock.owner(data_dir)) and owner.identity is None:
        time.sleep(_POLL_S)
    return owner.identity if owner else None


def _end(data_dir: Path, identity: Identity) -> None:
    """SIGTERM to a supervising process, then SIGKILL: its children are the guard's business in that case."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if (process := identity.find()) is None:
            return
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return
        except psutil.AccessDenied as error:
            raise folder.unusable(data_dir, PermissionError(f"process {error.pid} belongs to somebody else")) from error
        deadline = time.monotonic() + _GRACE_S
        while identity.find() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    if identity.find():
        raise AlreadyRunning(f"Process {identity.pid} cannot be ended.", pid=identity.pid)
