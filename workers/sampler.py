"""What an attempt uses of the machine, looked at now and then: metrics whose names begin with `sys/`.

`sys/cpu` is in cores, `sys/memory` in bytes (shared pages split among those who share them), `sys/gpu0/utilization` in
percent and `sys/gpu0/memory` in bytes; GPUs are numbered as the attempt sees them. The step is the age of the attempt
in seconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from orchestrator.domain.protocol import MetricPoint
from workers import gpus, proctree

EVERY_SECONDS = 5.0


class Sampler:
    """Looks at one attempt: the process `leader` and all below it, and the GPUs with these UUIDs."""

    def __init__(self, leader: int, devices: Sequence[str], began: float) -> None:
        self._leader = leader
        self._devices = tuple(devices)
        self._began = began
        self._looked = began
        self._used = 0.0

    def due(self, now: float) -> bool:
        """Whether the last look was long enough ago; `now` as for `sample`."""
        return now - self._looked >= EVERY_SECONDS

    def sample(self, table: dict[int, int], now: float) -> list[MetricPoint]:
        """One look, `now` by the clock that `began` came from. `table` is `proctree.parents()`."""
        members = [self._leader, *proctree.descendants([self._leader], table)]
        used = sum(map(proctree.cpu_seconds, members))
        # A process that was not waited for takes its past with it when it ends.
        cores = max(used - self._used, 0.0) / (now - self._looked)
        self._used, self._looked = used, now
        resident = sum(map(proctree.proportional_bytes, members))
        found: dict[str, float | None] = {"sys/cpu": cores, "sys/memory": float(resident)}
        for number, (utilization, memory) in enumerate(map(gpus.usage, self._devices)):
            found |= {f"sys/gpu{number}/utilization": utilization, f"sys/gpu{number}/memory": memory}
        at, step = time.time(), int(now - self._began)
        return [MetricPoint(name=name, step=step, value=value, at=at) for name, value in found.items()]
