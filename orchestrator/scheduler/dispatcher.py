"""Moves jobs from the backlog into the windows of pools: load, place, move, and after the commit, ring."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_adapters.egress import usd_per_gib
from orchestrator.domain.ids import encode
from orchestrator.domain.placement import PoolState, place, share_out
from orchestrator.store import pools, queue
from orchestrator.store.session import Connection, Database
from orchestrator.store.transitions import Moved

_BATCH = 500
ACTOR = "dispatcher"


@dataclass(frozen=True, slots=True)
class Ring:
    """A pool to ring for: the jobs put into its window, how many workers should look, and the trace of one of the jobs
    that is traced."""

    pool: str
    job_ids: tuple[str, ...]
    times: int
    traceparent: str | None = None


def dispatch(database: Database) -> list[Ring]:
    """Fill the windows once. Returns the bells to ring, now that it is committed. Empty when another replica is at it:
    that one will hear of whatever this one was woken for, too."""
    with database.transaction() as connection:
        if not queue.take_turn(connection):
            return []
        states = pools.states(connection)
        room = {pool.id: pool.room for pool in states if pool.hungry}
        if not room:
            return []
        backlog = {}
        for shape in queue.shapes(connection):
            if wanted := sum(room.get(pool.id, 0) for pool in place(shape, states).pools):
                backlog[shape] = queue.waiting(connection, shape, min(wanted, _BATCH))
        placed = share_out(backlog, states, room, usd_per_gib)
        moved = {
            pool.id: queue.dispatch(connection, placed[pool.id], pool, ACTOR) for pool in states if pool.id in placed
        }
    return [_ring(pool, moved[pool.id]) for pool in states if moved.get(pool.id)]


def _ring(pool: PoolState, moved: list[Moved]) -> Ring:
    """A bell for each worker that has something to do: those that are busy claim by themselves when they are done."""
    idle = max(pool.slots - pool.running, 0)
    job_ids = tuple(encode("j", move.job_id) for move in moved)
    traceparent = next((move.traceparent for move in moved if move.traceparent), None)
    return Ring(pool.name, job_ids, min(len(job_ids), pool.workers, idle), traceparent)


def idle_pools(connection: Connection) -> list[PoolState]:
    """Pools with a slot on which nothing runs."""
    return [pool for pool in pools.states(connection) if pool.slots > pool.running]
