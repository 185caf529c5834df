"""The processes of a stack, found by what they are, so that a fault hits the one that is meant."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from orchestrator.embedded.stack import Stack
from orchestrator.embedded.supervisor import children_of
from workers import proctree


def service(stack: Stack, name: str) -> int | None:
    """The process id of a service of a stack that this process runs, such as `worker-1`; None between two lives."""
    for child in children_of(stack.data_dir, os.getpid()):
        if child.name == name and child.running is not None and child.alive:
            return child.running.identity.pid
    return None


def services(stack: Stack, prefix: str) -> list[str]:
    """The names of a stack's services of one kind, whether they run at the moment or not."""
    return [child.name for child in children_of(stack.data_dir, os.getpid()) if child.name.startswith(prefix)]


def zygote(worker: int) -> int | None:
    """The process from which a worker's attempts are forked."""
    for pid in proctree.children(worker):
        with contextlib.suppress(OSError):
            if b"workers.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return None


def leaders(worker: int) -> list[int]:
    """The processes that lead a worker's attempts."""
    parent = zygote(worker)
    return [] if parent is None else sorted(proctree.children(parent))


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; False when the process was gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that have to do with a folder: they name it, work in it, or got it as a setting."""
    mark = os.fsencode(folder)
    return sorted(_words(pid) for pid in proctree.pids() if pid != os.getpid() and mark in b"".join(_traces(pid)))


def _traces(pid: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        yield os.fsencode(Path(f"/proc/{pid}/cwd").readlink())
        yield Path(f"/proc/{pid}/cmdline").read_bytes()
        yield Path(f"/proc/{pid}/environ").read_bytes()


def _words(pid: int) -> str:
    with contextlib.suppress(OSError):
        return f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')}"
    return str(pid)
