"""Jobs that a person moves to another cloud.

The spec stays as it is; the job's shape, at which placement looks, and the column `moved_to` change. A running attempt
is asked to save itself and to give up, which costs no retry; whatever dies on the way, the job is either still where it
was or queued for where it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict, FieldError, InvalidSpec, NoPlace, nearest
from orchestrator.domain.freight import Prices, haul
from orchestrator.domain.ids import encode
from orchestrator.domain.moves import MoveView
from orchestrator.domain.placement import Decision, PoolState, Shape, place, regions
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.spec import Cloud
from orchestrator.domain.state import JobState, Reason
from orchestrator.domain.transfer import OWN_KINDS
from orchestrator.store import ahead, freight, pools, queue
from orchestrator.store.notify import QUEUE, WORKERS, notify
from orchestrator.store.transitions import Change, note, transition

START_SECONDS = 3.0
"""What a process needs from its claim to its first step, beside its checkpoint: mostly the import of torch."""

WORTH_IT = 0.25
"""A copy goes ahead when so much of it, as a share, is expected to be the same when the job stops."""

_JOB = """
    SELECT j.id, j.kind, j.state, j.epoch, j.shape, j.moved_to, p.cloud, p.name AS pool, a.asked, a.worker_id,
      (SELECT max(step) FROM artifacts c WHERE c.job_id = j.id AND c.kind = 'checkpoint' AND c.epoch = (
        SELECT max(epoch) FROM artifacts o WHERE o.job_id = j.id AND o.kind = 'checkpoint')) AS step
    FROM jobs j
    LEFT JOIN pools p ON p.id = j.pool_id
    LEFT JOIN attempts a ON a.job_id = j.id AND a.epoch = j.epoch AND a.state = 'RUNNING'
    WHERE j.id = :id
"""
# A statement of its own: one that waits for a claim would see the job as it is then, and its attempts as they were.
_HOLD = "SELECT FROM jobs WHERE id = :id FOR NO KEY UPDATE"
# Before what it has published: an attempt that commits a checkpoint takes the two in this order.
_HOLD_ATTEMPT = "SELECT FROM attempts WHERE job_id = :id AND state = 'RUNNING' FOR NO KEY UPDATE"


def plan(
    connection: Connection, job_id: int, to: str, prices: Prices, rate: float, shared: int = 0
) -> tuple[MoveView, PoolState]:
    """What it takes to move a job to the cloud `to`, and the pool where it would go; `rate` in bytes per second. Of its
    newest checkpoint `shared` bytes are expected to be the same in the next one.

    Raises InvalidSpec for a cloud that is not known, Conflict when the job has ended, is there already or is on its way
    somewhere, and NoPlace when no pool there can take it, or has a slot free now for one that runs.
    """
    target = _known(to)
    job = connection.execute(text(_JOB), {"id": job_id}).one()
    _movable(job, target)
    shape = Shape.model_validate_json(job.shape).model_copy(
        update={
            "moved_to": target,
            "refused_by": (),
            "freight": freight.carried(connection, [job_id]).get(job_id, ()),
        }
    )
    states = pools.states(connection)
    decision = place(shape, states, prices)
    pool = _open(decision, states, target, running=job.state == JobState.RUNNING)
    load = next(one for one in decision.considered if one.pool == pool.name)
    saved = haul(freight.checkpoint(connection, job_id), pool.store, regions(states), prices)
    early = saved.bytes if job.state == JobState.RUNNING and _worth_it(shared, saved.bytes) else 0
    again = max(early - shared, 0)
    view = MoveView(
        job=encode("j", job_id),
        source=job.cloud,
        target=target,
        pool=pool.name,
        state=JobState(job.state),
        step=job.step,
        bytes_to_move=load.bytes_to_move + again,
        bytes_ahead=early,
        egress_usd=load.egress_usd + (saved.usd * again / early if early else 0),
        downtime_seconds=round((load.bytes_to_move - early + again) / rate + START_SECONDS, 1),
        considered=decision.considered,
        message=_message(job, target, early),
    )
    return view, pool


def _worth_it(shared: int, size: int) -> bool:
    """Whether a copy goes ahead: it costs its egress, and saves the time for what stays the same."""
    return size > 0 and shared >= size * WORTH_IT


def _open(decision: Decision, states: Sequence[PoolState], target: Cloud, *, running: bool) -> PoolState:
    """The best pool on a cloud; one that is full makes no job stop that runs elsewhere."""
    there = [pool for pool in decision.pools if pool.cloud == target and pool.slots]
    tried = [one.model_dump(include={"pool", "verdict"}) for one in decision.considered]
    if not there:
        names = {pool.name for pool in states if pool.cloud == target}
        reasons = [f"{one.pool}: {one.verdict}." for one in decision.considered if one.pool in names]
        found = " ".join([f"No pool on {target} can take this job.", *reasons]) if names else f"{target} has no pool."
        raise NoPlace(found, hint=f"Start a pool on {target} that fits, then try again.", attempts=tried)
    if not running:
        return there[0]
    if free := [pool for pool in there if pool.free]:
        return free[0]
    full = " ".join(f"{pool.name}: no slot of {pool.slots} is free." for pool in there)
    hint = "It goes on where it is. Try again when a job there has ended, or start another worker."
    raise NoPlace(f"{target} is full. {full}", hint=hint, attempts=tried)


def _known(to: str) -> Cloud:
    try:
        return Cloud(to)
    except ValueError:
        guess = nearest(to, [cloud.value for cloud in Cloud])
        hint = f"Did you mean {guess!r}?" if guess else f"One of {', '.join(Cloud)}."
        raise InvalidSpec.of([FieldError("to", f"{to!r} is not a cloud", hint)]) from None


def _refuse_own_kinds(job: Any) -> None:
    if job.kind in OWN_KINDS:
        raise Conflict(
            f"Job {encode('j', job.id)} copies or checks an artifact, where that lies; it takes no checkpoint.",
            hint="Cancel it, and ask for another one with `neutrino migrate model`.",
        )


def _movable(job: Any, target: Cloud) -> None:
    _refuse_own_kinds(job)
    public_id, state = encode("j", job.id), JobState(job.state)
    again = f"Submit it again, or `neutrino retry {public_id}`."
    if state.terminal:
        raise Conflict(f"Job {public_id} has finished ({state}); there is nothing to move.", hint=again)
    if state is JobState.CANCELLING:
        raise Conflict(f"Job {public_id} is being cancelled.", hint=f"Once it is gone: {again}")
    if job.asked == "cancel":
        raise Conflict(f"Job {public_id} is being stopped.", hint=f"`neutrino why {public_id}` says for what reason.")
    if job.asked in {"ahead", "move"}:
        raise Conflict(f"Job {public_id} is on its way to {job.moved_to} already.", hint="Wait until it runs there.")
    if job.cloud == target or (job.cloud is None and job.moved_to == target):
        where = f"runs on {target}" if state is JobState.RUNNING else f"is to run on {target}"
        raise Conflict(f"Job {public_id} {where} already.", hint="Name another cloud.")


def _message(job: Any, target: str, early: int) -> str:
    if job.state != JobState.RUNNING:
        return f"Moved to {target} before it ran."
    last = (
        f"its last checkpoint is of step {job.step}" if job.step is not None else "it has published no checkpoint yet"
    )
    if early:
        return f"Moving to {target}: {format_bytes(early)} of it go ahead, and it runs on meanwhile; {last}."
    return f"Moving to {target}: it is asked to save itself and to stop; {last}."


_REDIRECT = "UPDATE jobs SET moved_to = :target, shape = :shape WHERE id = :id"
_ASK = """
    UPDATE attempts SET asked = :asked, bound_for = :bound
    WHERE job_id = :id AND epoch = :epoch AND state = 'RUNNING'
"""


def begin(
    connection: Connection, job_id: int, to: str, prices: Prices, rate: float, user: str, shared: int = 0
) -> MoveView:
    """Send a job on its way to the cloud `to`, as `plan` finds it now; raises what that raises. For one that runs a
    slot is kept there; where that is worth it, it stops only once a copy of its newest checkpoint has gone ahead."""
    connection.execute(text(_HOLD), {"id": job_id})
    connection.execute(text(_HOLD_ATTEMPT), {"id": job_id})
    queue.await_turn(connection)
    view, pool = plan(connection, job_id, to, prices, rate, shared)
    job = connection.execute(text(_JOB), {"id": job_id}).one()
    shape = Shape.model_validate_json(job.shape).model_copy(update={"moved_to": Cloud(view.target), "refused_by": ()})
    connection.execute(text(_REDIRECT), {"id": job_id, "target": view.target, "shape": shape.key()})
    actor = f"user:{user}"
    if job.state == JobState.DISPATCHED:
        change = Change(
            job_id=job_id, target=JobState.QUEUED, reason=Reason.MIGRATING, message=view.message, actor=actor
        )
        transition(connection, [change])
        return view
    note(connection, job_id, Reason.MIGRATING, view.message, actor)
    if job.state == JobState.RUNNING:
        asked = "ahead" if view.bytes_ahead and ahead.send(connection, job_id, pool) else "move"
        connection.execute(text(_ASK), {"id": job_id, "epoch": job.epoch, "asked": asked, "bound": pool.id})
        notify(connection, {WORKERS: [job.worker_id]})
    notify(connection, {QUEUE: ()})  # also for a dispatcher that has left out its turn meanwhile
    return view


def ask_for_checkpoint(connection: Connection, job_id: int, user: str) -> None:
    """Let a running job take a checkpoint at its next opportunity; asked twice it takes one. Raises Conflict when it
    does not run."""
    connection.execute(text(_HOLD), {"id": job_id})
    job = connection.execute(text(_JOB), {"id": job_id}).one()
    _refuse_own_kinds(job)
    if job.state != JobState.RUNNING:
        public_id = encode("j", job_id)
        raise Conflict(
            f"Job {public_id} is {job.state}; only a running job can take a checkpoint.",
            hint=f"`neutrino why {public_id}` says why it does not run.",
        )
    if job.asked == "ahead":
        raise Conflict(
            f"Job {encode('j', job_id)} is on its way to {job.moved_to}.",
            hint="It takes a checkpoint when it stops, once what goes ahead of it has arrived.",
        )
    if job.asked is not None:
        return
    connection.execute(text(_ASK), {"id": job_id, "epoch": job.epoch, "asked": "checkpoint", "bound": None})
    note(connection, job_id, Reason.CHECKPOINT_REQUESTED, "Asked to take a checkpoint now.", f"user:{user}")
    notify(connection, {WORKERS: [job.worker_id]})
