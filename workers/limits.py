"""What an attempt may use of the machine, looked at twice a second for those that run longer than that."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orchestrator.domain.quantities import format_memory
from orchestrator.domain.state import Reason
from workers import proctree
from workers.verdict import Verdict

# Where the kernel counts its out-of-memory kills, the nearest first: container (cgroup 2, cgroup 1), machine.
_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat")


class OomWatch:
    """Notices the kernel's out-of-memory kills."""

    def __init__(self) -> None:
        self._seen = _oom_kills()

    def rose(self) -> bool:
        """True when there were any since the last look."""
        before, self._seen = self._seen, _oom_kills()
        return self._seen > before


def _oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory, as near to this container as it says."""
    for name in _OOM_COUNTERS:
        with contextlib.suppress(OSError):
            for line in Path(name).read_text(encoding="ascii").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return int(value)
    return 0


def excess(leader: int, memory: int | None, most_processes: int, table: dict[int, int]) -> Verdict | None:
    """Why an attempt is to be stopped, or None. `table` is `proctree.parents()`; `memory` is in bytes."""
    members = [leader, *proctree.descendants([leader], table)]
    if len(members) > most_processes:
        text = f"Too many processes: {len(members)} at once, and {most_processes} are allowed."
        return Verdict(Reason.USER_ERROR, text)
    if memory is None or sum(map(proctree.resident_bytes, members)) <= memory:
        return None
    # Forked processes share pages, and counting those once each would be unjust. This is slow, so only now.
    used = sum(map(proctree.proportional_bytes, members))
    if used <= memory:
        return None
    mebibytes = used // 1024**2
    return Verdict(Reason.OOM, f"Out of memory: it used {mebibytes}Mi and asked for {format_memory(memory)}.")
