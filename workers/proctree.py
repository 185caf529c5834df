"""Processes below a process, read from /proc, and the way to kill all of them.

Standard library only, and little of it: the zygote imports this, and every page it holds makes each fork dearer
(measured: psutil alone doubles the cost of a fork).

Source of the fields: proc_pid_stat(5), proc_pid_statm(5), proc_pid_smaps(5), proc_loadavg(5).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Collection, Iterable, Iterator

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl
_PAGE = resource.getpagesize()
_TICKS = os.sysconf("SC_CLK_TCK")


def become_subreaper() -> None:
    """From now on, descendants whose parent died become children of this process instead of init's."""
    _call_prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when the thread that made it ends."""
    _call_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one's memory and environment."""
    _call_prctl(_PR_SET_DUMPABLE, 0)


def _call_prctl(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def pids() -> Iterator[int]:
    """All processes of this machine or container."""
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208 - cheaper


def parents() -> dict[int, int]:
    """The parent of every process."""
    found = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            found[pid] = _parent(pid)
    return found


def _parent(pid: int) -> int:
    # The second field, the name, may hold spaces and brackets: the last bracket ends it.
    after_name = _read(f"/proc/{pid}/stat").rpartition(b")")[2]
    return int(after_name.split(None, 2)[1])


def _read(path: str) -> bytes:
    # Not pathlib or open(): this runs for every process of the machine.
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def tasks() -> int:
    """How many processes and threads the machine has: one short read, where `parents()` is one per process."""
    return int(_read("/proc/loadavg").split()[3].partition(b"/")[2])


def children(pid: int, table: dict[int, int] | None = None) -> list[int]:
    """The processes whose parent is `pid`."""
    return [child for child, parent in (parents() if table is None else table).items() if parent == pid]


def descendants(roots: Iterable[int], table: dict[int, int] | None = None) -> list[int]:
    """All processes below `roots`, without themselves."""
    below: dict[int, list[int]] = {}
    for child, parent in (parents() if table is None else table).items():
        below.setdefault(parent, []).append(child)
    found: list[int] = []
    queue = [child for root in roots for child in below.get(root, ())]
    while queue:
        child = queue.pop()
        found.append(child)
        queue.extend(below.get(child, ()))
    return found


def kill_trees(roots: Collection[int]) -> None:
    """Kill `roots` and everything below them, whatever sessions and groups they fled to.

    First everything is frozen, until a look finds nothing new: a process with SIGSTOP pending forks no more. Whole
    groups are frozen in one call each, which no fork can slip through, so that even a fork bomb is caught.
    """
    frozen: set[int] = set()
    targets: set[int] = set()
    while fresh := {*roots, *descendants(roots)} - frozen:
        new = {_target(pid) for pid in fresh} - targets
        for target in new:
            _send(target, signal.SIGSTOP)
        frozen |= fresh
        targets |= new
    for target in targets:
        _send(target, signal.SIGKILL)


def _target(pid: int) -> int:
    """What to give to kill(2): the process's group, unless it is our own group or the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            return -group
    return pid


def _send(target: int, number: signal.Signals) -> None:
    # It may be gone already; and a program that changed its user is out of reach for a worker that is not root.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(target, number)


def resident_bytes(pid: int) -> int:
    """Memory in RAM, shared pages included; 0 when the process is gone."""
    try:
        return int(_read(f"/proc/{pid}/statm").split(None, 2)[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of its children that it has waited for; 0 when the process is gone."""
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def proportional_bytes(pid: int) -> int:
    """Memory in RAM with each shared page split among those who share it; 0 when the process is gone. Slow to read."""
    try:
        lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:"))


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it is gone or not ours to read."""
    try:
        block = _read(f"/proc/{pid}/environ")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in block.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}
