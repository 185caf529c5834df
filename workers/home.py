"""A worker's folder, and the lock that proves that its predecessor is gone."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.sdk.plan import RUN_DIR
from workers import proctree

log = logging.getLogger(__name__)

_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Home:
    """The folder, and the lock's descriptor. The zygote inherits it, so that it is free only when both are gone."""

    folder: Path
    lock: int

    @classmethod
    def take(cls, folder: Path, name: str) -> Home:
        """Wait until no process of a worker of this name is left, and clear away what it left behind."""
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _wait_for(lock, name)
        attempts = folder / "attempts"
        _kill_survivors(attempts)
        shutil.rmtree(attempts, ignore_errors=True)
        attempts.mkdir()
        return cls(folder, lock)


def _wait_for(lock: int, name: str) -> None:
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                log.warning("A worker %s is still here; waiting for its end.", name)
                told = True
            time.sleep(_PAUSE)
        else:
            return


def _kill_survivors(attempts: Path) -> None:
    """Kill what outlived both a worker and its zygote, which takes two SIGKILLs at once: programs that had left their
    session. They are known by the folder that they were started in."""
    while survivors := [pid for pid in proctree.pids() if _belongs(pid, attempts)]:
        log.warning("Killing %d processes that a predecessor left behind.", len(survivors))
        proctree.kill_trees(survivors)
        time.sleep(_PAUSE)


def _belongs(pid: int, attempts: Path) -> bool:
    folder = proctree.environment(pid).get(RUN_DIR, "")
    return Path(folder).parent == attempts and pid != os.getpid() and _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
