"""Where a job can run: a pure function of what the job asks for and what the pools have.

It lives in the domain because two callers ask it the same question: the dispatcher, to place, and the API, to explain.
Jobs with the same Shape are placed alike, so the dispatcher asks once per shape and not once per job.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.model import Model
from orchestrator.domain.quantities import parse_gpu
from orchestrator.domain.spec import Cloud, JobSpec
from orchestrator.domain.views import Considered

WINDOW_PER_SLOT = 2
"""How many attempts may wait in Redis and DISPATCHED for each slot of a pool; the rest of the backlog stays QUEUED."""


class Shape(Model):
    """All that placement looks at. `key()` is the canonical text that is stored with the job."""

    clouds: tuple[Cloud, ...] = ()
    gpu: str | None = None
    nodes: int = 1
    pool: str | None = None

    @classmethod
    def of(cls, spec: JobSpec) -> Shape:
        """The shape of a spec."""
        gpu = spec.resources.gpu
        return cls(
            clouds=tuple(sorted(spec.placement.clouds)),
            gpu=str(gpu) if gpu else None,
            nodes=spec.resources.nodes,
            pool=spec.placement.pool,
        )

    def key(self) -> str:
        """Canonical JSON: equal shapes have equal keys."""
        return self.model_dump_json(exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as the dispatcher sees it. `slots` counts the live workers that are not draining."""

    id: int
    name: str
    cloud: str
    gpu: str | None
    workers: int
    slots: int
    running: int
    dispatched: int

    @property
    def free(self) -> int:
        """Slots on which nothing runs and nothing is about to."""
        return max(self.slots - self.running - self.dispatched, 0)

    @property
    def room(self) -> int:
        """How many more attempts its window takes."""
        return max(self.slots * WINDOW_PER_SLOT - self.dispatched, 0)

    @property
    def hungry(self) -> bool:
        """Whether it is worth filling the window: a slot is idle, or half of the window is empty. Busy pools are filled
        in batches that way, which costs a fraction of filling them one by one."""
        return self.free > 0 or self.room >= max(self.slots * WINDOW_PER_SLOT // 2, 1)


@dataclass(frozen=True, slots=True)
class Decision:
    """The pools that fit, best first, and what was thought of each pool."""

    pools: tuple[PoolState, ...]
    considered: tuple[Considered, ...]

    @property
    def message(self) -> str:
        """Why a job of this shape still waits, as a sentence for people."""
        if not self.considered:
            return "Waiting: there is no pool yet."
        if not self.pools:
            return "Waiting: no pool fits. " + " ".join(f"{one.pool}: {one.verdict}." for one in self.considered)
        if not any(pool.slots for pool in self.pools):
            names = ", ".join(pool.name for pool in self.pools)
            return f"Waiting: no worker of pool {names} is online."
        if any(pool.free for pool in self.pools):
            return "Waiting for the dispatcher."
        busy = ", ".join(f"{pool.name} ({pool.running} of {pool.slots} slots run)" for pool in self.pools if pool.slots)
        return f"Waiting for a free slot in {busy}."


def _misfit(shape: Shape, pool: PoolState) -> str | None:
    """Why a pool can never run a shape; None when it can."""
    if shape.pool is not None and shape.pool != pool.name:
        return f"not the pool asked for ({shape.pool})"
    if shape.clouds and pool.cloud not in shape.clouds:
        return f"is on {pool.cloud}, not on {' or '.join(shape.clouds)}"
    if shape.nodes > 1:
        return f"runs jobs of one node, not of {shape.nodes}"
    if shape.gpu is None:
        return None
    wanted = parse_gpu(shape.gpu)
    if pool.gpu is None:
        return f"has no GPU, not {wanted}"
    had = parse_gpu(pool.gpu)
    return None if had.type == wanted.type and had.per_node >= wanted.per_node else f"has {had}, not {wanted}"


def _verdict(shape: Shape, pool: PoolState) -> str:
    if misfit := _misfit(shape, pool):
        return misfit
    if not pool.workers:
        return "fits, but no worker is online"
    if not pool.slots:
        return "fits, but its workers are draining"
    return f"fits, {pool.free} of {pool.slots} slots free"


def place(shape: Shape, pools: Sequence[PoolState]) -> Decision:
    """The pools that can run `shape`: those without an unneeded GPU first, then those with the most room."""
    fitting = [pool for pool in pools if _misfit(shape, pool) is None]
    fitting.sort(key=lambda pool: _preference(shape, pool))
    return Decision(tuple(fitting), tuple(Considered(pool=pool.name, verdict=_verdict(shape, pool)) for pool in pools))


def _preference(shape: Shape, pool: PoolState) -> tuple[bool, int, int, str]:
    return (shape.gpu is None and pool.gpu is not None, -pool.free, -pool.room, pool.name)


def share_out(backlog: Mapping[Shape, Sequence[int]], pools: Sequence[PoolState]) -> dict[int, list[int]]:
    """Which waiting jobs go into the window of which pool; `backlog` has the oldest ids of each shape, in order.

    The oldest job of all shapes comes first, so that no backlog of one shape starves another; each goes to the pool
    that is best for it at that moment. A shape for which there is no room holds nobody up.
    """
    fitting = {shape: [pool.id for pool in place(shape, pools).pools] for shape in backlog}
    now = {pool.id: pool for pool in pools}
    room = {pool.id: pool.room for pool in pools}
    placed: dict[int, list[int]] = {}
    for job_id, shape in heapq.merge(*([(job_id, shape) for job_id in ids] for shape, ids in backlog.items())):
        if not (open_pools := [now[pool_id] for pool_id in fitting[shape] if room[pool_id]]):
            continue
        best = min(open_pools, key=lambda pool: _preference(shape, pool))
        placed.setdefault(best.id, []).append(job_id)
        now[best.id] = replace(best, dispatched=best.dispatched + 1)
        room[best.id] -= 1
    return placed
