"""Mends what went wrong: leases that ran out, bells that were lost, pools that emptied. Stateless; many may run."""

from __future__ import annotations

import logging

from cloud_adapters.egress import usd_per_gib
from orchestrator.domain.ids import encode
from orchestrator.domain.placement import Shape, share_out
from orchestrator.domain.state import Reason
from orchestrator.scheduler.dispatcher import Ring, idle_pools
from orchestrator.store import ahead, components, idempotency, max_cost, notifications, pools, queue, sessions, standby
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

RING_AGAIN_SECONDS = 2.0
"""A dispatched job that nobody has claimed for so long although slots are free is rung for again."""
WITHDRAW_SECONDS = 30.0
"""A dispatched job goes back to the queue after so long in a pool that has no worker, or only such as drain."""
REBALANCE_SECONDS = 2.0
"""A dispatched job leaves a busy pool for a free slot elsewhere after so long; short jobs have been claimed by then."""
ACTOR = "reconciler"


def expire(database: Database) -> int:
    """End attempts whose lease has run out. Only the database's clock says so: that a worker does not answer calls
    means nothing. Returns how many."""
    with database.transaction() as connection:
        moved = queue.expire_leases(connection, ACTOR)
    for move in moved:
        log.warning("the lease of %s ran out; job is %s", move.attempt, move.target)
    return len(moved)


def stop_dear(database: Database) -> int:
    """Stop jobs that have cost all that they may; returns how many."""
    with database.transaction() as connection:
        stopped = max_cost.stop(connection, ACTOR)
    for attempt in stopped:
        log.info("%s has cost all that its job may; it is stopped", attempt)
    return len(stopped)


def withdraw(database: Database) -> int:
    """Take dispatched jobs back from pools whose workers are gone or drain; returns how many."""
    with database.transaction() as connection:
        empty = [pool for pool in pools.states(connection) if pool.dispatched and not pool.slots]
        waiting = queue.stranded(connection, empty, WITHDRAW_SECONDS)
        message = "Its pool has no worker left that takes jobs; looking for another place."
        return len(queue.withdraw(connection, [one.job_id for one in waiting], Reason.POOL_GONE, message, ACTOR))


def rebalance(database: Database) -> int:
    """Take dispatched jobs back from busy pools while another pool that fits them has free slots; returns how many."""
    with database.transaction() as connection:
        states = pools.states(connection)
        busy = [pool for pool in states if pool.dispatched and pool.running >= pool.slots > 0]
        # Only as many as start at once there: a window is no better than another window.
        free = {pool.id: pool.free for pool in states if pool.free}
        if not busy or not free:
            return 0
        backlog: dict[Shape, list[int]] = {}
        for one in queue.stranded(connection, busy, REBALANCE_SECONDS):
            backlog.setdefault(one.shape, []).append(one.job_id)
        movable = [job_id for ids in share_out(backlog, states, free, usd_per_gib).values() for job_id in ids]
        message = "Its pool is busy and another one has a free slot; it goes there."
        return len(queue.withdraw(connection, movable, Reason.REBALANCED, message, ACTOR))


def unheard(database: Database) -> list[Ring]:
    """The bells to ring again."""
    with database.transaction() as connection:
        waiting = [pool for pool in idle_pools(connection) if pool.dispatched]
        lost = queue.unheard(connection, waiting, RING_AGAIN_SECONDS)
    workers = {pool.name: pool.workers for pool in waiting}
    return [
        Ring(
            one.pool,
            tuple(encode("j", job_id) for job_id in one.job_ids[:100]),
            min(len(one.job_ids), workers[one.pool]),
        )
        for one in lost
    ]


def copy_ahead(database: Database) -> int:
    """Begin to copy checkpoints to the clouds that stand by; returns how many."""
    with database.transaction() as connection:
        return standby.replicate(connection)


def let_follow(database: Database) -> int:
    """Let jobs that move stop where they are, once what goes ahead of them has arrived; returns how many."""
    with database.transaction() as connection:
        return ahead.follow(connection)


def sweep(database: Database) -> None:
    """Drop what nobody needs any more."""
    with database.transaction() as connection:
        forgotten = idempotency.forget_old(connection)
        components.forget_gone(connection)
        sessions.forget_old(connection)
        notifications.forget_old(connection)
    if forgotten:
        log.info("forgot %s old idempotency keys", forgotten)
