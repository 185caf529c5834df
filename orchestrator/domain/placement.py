"""Where a job can run: a pure function of what the job asks for and what the pools have.

It lives in the domain because two callers ask it the same question: the dispatcher, to place, and the API, to explain.
Jobs with the same Shape are placed alike, so the dispatcher asks once per shape and not once per job.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.cost import coarse, max_rate
from orchestrator.domain.freight import Freight, Haul, Prices, Region, free, haul
from orchestrator.domain.model import Model
from orchestrator.domain.pods import Runtime
from orchestrator.domain.quantities import parse_gpu
from orchestrator.domain.spec import Cloud, JobSpec, Spot
from orchestrator.domain.views import Considered, Misfit

WINDOW_PER_SLOT = 2
"""How many attempts may wait in Redis and DISPATCHED for each slot of a pool; the rest of the backlog stays QUEUED."""


class Shape(Model):
    """All that placement looks at. `key()` is the canonical text that is stored with the job.

    The first eight come from the spec; the others from what happened since: the cloud to which a person moved the job,
    the pools that could not take it, and what it carries. `own` tells a copy or a check from what people submit, and
    `max_rate` is what an hour of one slot may cost, in USD.
    """

    own: bool = False
    clouds: tuple[Cloud, ...] = ()
    gpu: str | None = None
    nodes: int = 1
    pool: str | None = None
    runtime: Runtime | None = None
    spot: Spot = Spot.NEVER
    max_rate: float | None = None
    moved_to: Cloud | None = None
    refused_by: tuple[str, ...] = ()
    freight: tuple[Freight, ...] = ()

    @classmethod
    def of(cls, spec: JobSpec) -> Shape:
        """The shape of a spec."""
        gpu = spec.resources.gpu
        return cls(
            own=spec.own,
            clouds=tuple(sorted(spec.placement.clouds)),
            gpu=str(gpu) if gpu else None,
            nodes=spec.resources.nodes,
            pool=spec.placement.pool,
            runtime=Runtime.POD if spec.needs_pods else spec.runtime,
            spot=spec.placement.spot,
            max_rate=max_rate(spec),
        )

    def key(self) -> str:
        """Canonical JSON: equal shapes have equal keys."""
        return self.model_dump_json(exclude_defaults=True)


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as the dispatcher sees it. `slots` counts the live workers that are not draining; one of them costs
    `usd_per_hour`, None when nobody has said. `kept` are for jobs that are on their way there."""

    id: int
    name: str
    cloud: str
    gpu: str | None
    workers: int
    slots: int
    running: int
    dispatched: int
    region: str = ""
    store: str = ""
    pods: bool = False
    max_nodes: int = 1
    spot: bool = False
    usd_per_hour: float | None = None
    kept: int = 0

    @property
    def free(self) -> int:
        """Slots on which nothing runs and nothing is about to."""
        return max(self.slots - self.kept - self.running - self.dispatched, 0)

    @property
    def room(self) -> int:
        """How many more attempts its window takes."""
        return max((self.slots - self.kept) * WINDOW_PER_SLOT - self.dispatched, 0)

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


def _misfit(shape: Shape, pool: PoolState) -> tuple[Misfit, str] | None:
    """Why a pool can never run a shape; None when it can. Where a person moved a job, there it may run, whatever clouds
    and pool its spec names. Money comes last: a pool that is too dear would do otherwise."""
    if shape.moved_to != pool.cloud:
        if shape.pool is not None and shape.pool != pool.name:
            return Misfit.POOL, f"not the pool asked for ({shape.pool})"
        if shape.clouds and pool.cloud not in shape.clouds:
            return Misfit.CLOUD, f"is on {pool.cloud}, not on {' or '.join(shape.clouds)}"
    if shape.runtime is Runtime.POD and not pool.pods:
        return Misfit.RUNTIME, "runs processes, not pods"
    if shape.runtime is Runtime.PROCESS and pool.pods:
        return Misfit.RUNTIME, "runs pods, not processes"
    if shape.nodes > pool.max_nodes:
        most = "one node" if pool.max_nodes == 1 else f"up to {pool.max_nodes} nodes"
        return Misfit.NODES, f"runs jobs of {most}, not of {shape.nodes}"
    return _gpu_misfit(shape, pool) or _money_misfit(shape, pool)


def _gpu_misfit(shape: Shape, pool: PoolState) -> tuple[Misfit, str] | None:
    if shape.gpu is None:
        return None
    wanted = parse_gpu(shape.gpu)
    if pool.gpu is None:
        return Misfit.GPU, f"has no GPU, not {wanted}"
    had = parse_gpu(pool.gpu)
    fits = had.type == wanted.type and had.per_node >= wanted.per_node
    return None if fits else (Misfit.GPU, f"has {had}, not {wanted}")


def _money_misfit(shape: Shape, pool: PoolState) -> tuple[Misfit, str] | None:
    """A spot pool that the spec names is accepted by being named. A pool without a price costs nothing, as in every
    account of costs."""
    if pool.spot and shape.spot is Spot.NEVER and shape.pool != pool.name:
        return Misfit.SPOT, "has spot capacity, which the job does not accept"
    if shape.spot is Spot.ONLY and not pool.spot:
        return Misfit.SPOT, "has no spot capacity, and the job accepts no other"
    if shape.max_rate is not None and coarse(pool.usd_per_hour or 0.0) > shape.max_rate:
        return Misfit.PRICE, f"costs ${pool.usd_per_hour:.4g} an hour; the job's limit allows ${shape.max_rate:.4g}"
    return None


def _price(shape: Shape, pool: PoolState) -> str:
    if pool.usd_per_hour is not None:
        return f"; ${pool.usd_per_hour:.4g} an hour"
    return "; has no price, so the job's limit of cost does not count there" if shape.max_rate is not None else ""


def _verdict(shape: Shape, pool: PoolState, load: Haul, *, elsewhere: bool) -> str:
    if misfit := _misfit(shape, pool):
        return misfit[1]
    if not pool.workers:
        return "fits, but no worker is online"
    if not pool.slots:
        return "fits, but its workers are draining"
    if elsewhere:
        return f"fits, but the job was moved to {shape.moved_to}"
    refused = "; could not take it lately" if pool.name in shape.refused_by else ""
    return f"fits, {pool.free} of {pool.slots} slots free{load.clause}{_price(shape, pool)}{refused}"


def place(shape: Shape, pools: Sequence[PoolState], prices: Prices = free) -> Decision:
    """The pools that can run `shape`, best first: see `_preference`. `pools` are all there are.

    A job that was moved to a cloud stays there as long as a pool of it that fits has workers which do not drain; then,
    and only then, it goes elsewhere.
    """
    hauls = _hauls(shape, pools, prices)
    fitting = [pool for pool in pools if _misfit(shape, pool) is None]
    there = [pool for pool in fitting if pool.cloud == shape.moved_to and pool.slots]
    chosen = there or fitting
    considered = tuple(
        Considered(
            pool=pool.name,
            verdict=_verdict(shape, pool, hauls[pool.id], elsewhere=pool not in chosen),
            misfit=(_misfit(shape, pool) or (None,))[0],
            usd_per_hour=pool.usd_per_hour,
            bytes_to_move=hauls[pool.id].bytes,
            egress_usd=hauls[pool.id].usd,
        )
        for pool in pools
    )
    return Decision(tuple(sorted(chosen, key=lambda pool: _preference(shape, pool, hauls[pool.id]))), considered)


def regions(pools: Sequence[PoolState]) -> dict[str, Region]:
    """Where the stores of these pools are."""
    return {pool.store: Region(pool.cloud, pool.region) for pool in pools}


def _hauls(shape: Shape, pools: Sequence[PoolState], prices: Prices) -> dict[int, Haul]:
    """What has to be moved to each pool, by its id."""
    known = regions(pools)
    return {pool.id: haul(shape.freight, pool.store, known, prices) for pool in pools}


def _preference(shape: Shape, pool: PoolState, load: Haul) -> tuple[bool, bool, bool, bool, float, int, int, int, str]:
    """Smaller is better: first the pools that have not refused the job, then those without an unneeded GPU, then those
    with a free slot; among them spot for who prefers it, where the least has to be moved, and where there is most
    room."""
    return (
        pool.name in shape.refused_by,
        shape.gpu is None and pool.gpu is not None,
        not pool.free,
        shape.spot is Spot.PREFER and not pool.spot,
        load.usd,
        load.bytes,
        -pool.free,
        -pool.room,
        pool.name,
    )


def share_out(
    backlog: Mapping[Shape, Sequence[int]],
    pools: Sequence[PoolState],
    room: Mapping[int, int],
    prices: Prices = free,
) -> dict[int, list[int]]:
    """Which waiting jobs go to which pool; `backlog` has the oldest ids of each shape, in order, and `room` says how
    many each pool takes.

    The oldest job of all shapes comes first, so that no backlog of one shape starves another; each goes to the pool
    that is best for it at that moment. A shape for which there is no room holds nobody up. Work of Neutrino's own goes
    before all others: a copy that keeps a running job safe must not wait for a backlog of days.
    """
    fitting = {shape: [pool.id for pool in place(shape, pools, prices).pools] for shape in backlog}
    now = {pool.id: pool for pool in pools}
    left = dict(room)
    hauls = {shape: _hauls(shape, pools, prices) for shape in backlog}
    placed: dict[int, list[int]] = {}
    queues = ([(job_id, shape) for job_id in ids] for shape, ids in backlog.items())
    for job_id, shape in heapq.merge(*queues, key=lambda one: (not one[1].own, one[0])):
        if not (open_pools := [now[pool_id] for pool_id in fitting[shape] if left.get(pool_id)]):
            continue
        best = min(open_pools, key=lambda pool: _preference(shape, pool, hauls[shape][pool.id]))
        placed.setdefault(best.id, []).append(job_id)
        now[best.id] = replace(best, dispatched=best.dispatched + 1)
        left[best.id] -= 1
    return placed
