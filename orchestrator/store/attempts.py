"""Attempts: claimed, kept alive, and ended. Leases live and die by the database's clock."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from orchestrator import settings
from orchestrator.domain.document import timeout_of
from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.protocol import (
    LONGEST_MESSAGE,
    CheckpointRef,
    Heartbeat,
    HeartbeatReply,
    Input,
    Lease,
    Report,
    Reported,
    Resumed,
)
from orchestrator.domain.retry import ATTEMPT_STATE_OF, OWN, PEOPLES, Counters, after_attempt
from orchestrator.domain.spec import Retry
from orchestrator.domain.state import AttemptState, JobState, Reason
from orchestrator.domain.transfer import OWN_KINDS, Order
from orchestrator.store import ahead, artifacts, checkpoints, doubts, inputs, max_cost, transfers
from orchestrator.store.fence import LIVE, Holder, hold, require
from orchestrator.store.shaping import shaped
from orchestrator.store.tokens import ATTEMPT_PREFIX, token_hash
from orchestrator.store.transitions import Change, note, transition

_CLAIMABLE = """
    SELECT id, epoch, workspace_id, document, traceparent FROM jobs WHERE pool_id = :pool AND state = 'DISPATCHED'
    ORDER BY kind <> ALL(CAST(:own AS text[])), id LIMIT :slots FOR NO KEY UPDATE SKIP LOCKED
"""


def claim(connection: Connection, worker_id: int, pool_id: int, slots: int, lease_seconds: float) -> tuple[Lease, ...]:
    """Start up to `slots` dispatched jobs of the pool on this worker; each gets the next epoch and a token."""
    waiting = connection.execute(text(_CLAIMABLE), {"pool": pool_id, "slots": slots, "own": list(OWN_KINDS)}).all()
    if not waiting:
        return ()
    resumes = checkpoints.resumable(connection, [row.id for row in waiting if row.epoch > 0], pool_id)
    reads = inputs.granted(connection, waiting, pool_id)
    orders = transfers.orders(connection, waiting, pool_id)
    tokens = {row.id: ATTEMPT_PREFIX + secrets.token_urlsafe(24) for row in waiting}
    worker = encode("w", worker_id)
    moved = transition(
        connection,
        [
            Change(
                job_id=row.id,
                target=JobState.RUNNING,
                reason=Reason.CLAIMED,
                message=f"Running on worker {worker}.",
                actor=f"worker:{worker}",
                worker_id=worker_id,
                token_hash=token_hash(tokens[row.id]).hex(),
                lease_seconds=lease_seconds,
                resumed_from_step=resumes[row.id][0].step if row.id in resumes else None,
            )
            for row in waiting
        ],
    )
    rows = {row.id: row for row in waiting}
    return tuple(
        granted(
            move.attempt,
            rows[move.job_id],
            tokens[move.job_id],
            resumes.get(move.job_id, ()),
            reads.get(move.job_id, ()),
            orders.get(move.job_id),
        )
        for move in sorted(moved, key=lambda move: move.job_id)
    )


def granted(
    attempt: AttemptId,
    row: Any,
    token: str,
    sources: Sequence[CheckpointRef],
    reads: tuple[Input, ...] = (),
    order: Order | None = None,
) -> Lease:
    """The lease of an attempt; `row` has the job's document, workspace and trace, `sources` where its checkpoint may be
    had, `reads` its inputs, `order` what there is to do for a job of our own kinds."""
    return Lease(
        attempt=str(attempt),
        token=token,
        document=row.document,
        timeout_seconds=timeout_of(row.document),
        prefix=f"artifacts/{row.workspace_id}/{attempt}",
        resume=sources[0] if sources else None,
        fallbacks=tuple(sources[1:]),
        inputs=reads,
        order=order,
        traceparent=row.traceparent,
    )


# Locks in the order of ids, like every other statement: the worker may name them in any order.
_RENEW = f"""
    WITH held AS (
      SELECT a.job_id, a.epoch
      FROM attempts a
      JOIN unnest(CAST(:jobs AS bigint[]), CAST(:epochs AS int[])) AS named(job_id, epoch) USING (job_id, epoch)
      WHERE a.worker_id = :worker AND {LIVE}
      ORDER BY a.job_id
      FOR NO KEY UPDATE OF a
    )
    UPDATE attempts a SET lease_expires_at = CASE WHEN a.node_pods ->> '0' IS NULL
      THEN clock_timestamp() + :lease * interval '1 second' ELSE a.lease_expires_at END
    FROM held WHERE a.job_id = held.job_id AND a.epoch = held.epoch
    RETURNING a.job_id, a.epoch
"""
_HELD = f"""
    SELECT a.job_id, a.epoch, j.state, a.asked
    FROM attempts a JOIN jobs j ON j.id = a.job_id
    WHERE a.worker_id = :worker AND {LIVE}
"""
_SEEN = """
    UPDATE workers SET heartbeat_at = clock_timestamp(), draining = draining OR :draining
    WHERE id = :worker RETURNING draining
"""
_WAITING = """
    SELECT count(*) FROM (
      SELECT FROM jobs
      WHERE state = 'DISPATCHED' AND pool_id = (SELECT pool_id FROM workers WHERE id = :worker) LIMIT 100
    ) AS waiting
"""


def wanted(state: str, asked: str | None) -> tuple[str, ...]:
    """What is wanted of an attempt, as the fields of a HeartbeatReply, by the state of its job and what it is asked."""
    if state == JobState.CANCELLING:
        return ("cancel",)
    if asked == "cancel":  # by `store.max_cost`
        return ("cancel", "dear")
    return (asked,) if asked in {"checkpoint", "move"} else ()


def heartbeat(
    connection: Connection, worker_id: int, beat: Heartbeat, named: Sequence[AttemptId], lease: float
) -> HeartbeatReply:
    """Renew the leases that are still live, and tell the worker what is wanted of them."""
    about = {"worker": worker_id}
    arrays = {"jobs": [one.job_id for one in named], "epochs": [one.epoch for one in named]}
    renewed = {
        AttemptId(row.job_id, row.epoch) for row in connection.execute(text(_RENEW), about | arrays | {"lease": lease})
    }
    draining = connection.execute(text(_SEEN), about | {"draining": beat.draining}).scalar_one()
    held = {AttemptId(row.job_id, row.epoch): row for row in connection.execute(text(_HELD), about)}
    asked: dict[str, list[str]] = {"cancel": [], "dear": [], "checkpoint": [], "move": []}
    for one, row in held.items():
        for what in wanted(row.state, row.asked) if one in renewed else ():
            asked[what].append(str(one))
    return HeartbeatReply(
        lost=tuple(str(one) for one in named if one not in renewed),
        **{what: tuple(attempts) for what, attempts in asked.items()},
        orphans=tuple(str(one) for one in held if one not in set(named)),
        waiting=connection.execute(text(_WAITING), about).scalar_one(),
        drain=draining,
    )


_STANDING = f"""
    SELECT id, epoch, state, workspace_id, document, name, user_failures, infra_failures, preemptions, worker_deaths,
      shape, moved_to, pool_id, max_cost_usd,
      CASE WHEN max_cost_usd IS NOT NULL THEN {max_cost.spent("jobs")} END AS spent_usd,
      CASE WHEN infra_failures > 0 THEN least(infra_failures,
        (SELECT count(*) FROM attempts a WHERE a.job_id = jobs.id AND a.reason = 'killed')) ELSE 0 END AS kills,
      infra_failures + preemptions + worker_deaths > 0 AND EXISTS (SELECT FROM artifacts c
        WHERE c.job_id = jobs.id AND c.epoch = jobs.epoch AND c.kind = 'checkpoint') AS advanced
    FROM jobs WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE
"""


def standing(connection: Connection, job_ids: Sequence[int]) -> dict[int, Any]:
    """The jobs with these ids, locked: their states and budgets stay so until the transaction ends."""
    return {row.id: row for row in connection.execute(text(_STANDING), {"ids": list(job_ids)})}


def ending(job: Any, reason: Reason, message: str, actor: str, *, exit_code: int | None = None) -> Change:
    """The move that follows when an attempt ends with `reason`: success, cancellation, another try, or failure."""
    common = {"job_id": job.id, "epoch": job.epoch, "actor": actor, "exit_code": exit_code}
    if job.state == JobState.CANCELLING:
        return Change(
            target=JobState.CANCELLED,
            reason=Reason.CANCELLED_BY_USER,
            message="Cancelled; its processes are gone.",
            ends=AttemptState.CANCELLED,
            **common,
        )
    if reason is Reason.SUCCEEDED:
        return Change(
            target=JobState.SUCCEEDED,
            reason=reason,
            message=message or "Done.",
            ends=AttemptState.SUCCEEDED,
            **common,
        )
    spent = Counters(job.user_failures, job.infra_failures, job.preemptions, job.worker_deaths, job.kills)
    retry = Retry.model_validate(job.document["spec"].get("retry", {}))
    bill = max_cost.bill(job)
    if bill and bill.reached and reason is Reason.CANCELLED_BY_USER:  # nobody cancelled it: it was told to stop
        reason, message = Reason.COST_EXCEEDED, str(bill)
    budgets = OWN if job.document["kind"] in OWN_KINDS else PEOPLES
    verdict = after_attempt(reason, message, spent.forgiven() if job.advanced else spent, retry, budgets=budgets)
    if bill and bill.reached and verdict.state is JobState.QUEUED:
        verdict = replace(verdict, state=JobState.FAILED, reason=Reason.COST_EXCEEDED, message=f"{message} {bill}")
    # Everybody who failed at once shall not come back at once: between half and all of the delay.
    delay = verdict.delay * (0.5 + secrets.randbelow(1000) / 2000)
    return Change(
        target=verdict.state,
        reason=verdict.reason,
        message=verdict.message,
        delay=delay,
        counters=verdict.counters,
        ends=ATTEMPT_STATE_OF.get(reason, AttemptState.FAILED),
        **common,
    )


def report(connection: Connection, holder: Holder, reports: Sequence[tuple[AttemptId, Report]]) -> Reported:
    """End attempts. A report from an attempt that has no live lease any more is answered with `lost` and has no effect;
    what an attempt made is registered in the same transaction as its success."""
    jobs = standing(connection, [attempt.job_id for attempt, _ in reports])
    held = hold(connection, holder, [attempt for attempt, _ in reports])
    worker = f"worker:{encode('w', holder.worker_id)}" if holder.worker_id else "worker"
    # The first report of an attempt counts; the lock on the job has made sure that its epoch is still this one.
    firsts = dict(reversed(reports))
    accepted = [
        (attempt, one)
        for attempt, one in firsts.items()
        if attempt in held and jobs[attempt.job_id].epoch == attempt.epoch
    ]
    changes = [
        ending(jobs[attempt.job_id], one.reason, one.message, worker, exit_code=one.exit_code)
        for attempt, one in accepted
    ]
    moves = transition(connection, shaped(connection, jobs, changes))
    ahead.land(connection, moves, settings.current().silence_seconds)
    moved = {move.job_id: move for move in moves}
    for attempt, one in accepted:
        job, move = jobs[attempt.job_id], moved.get(attempt.job_id)
        if move is None:
            continue
        if job.document["kind"] in OWN_KINDS:
            transfers.ended(connection, job, one, move.target)
            doubts.raised(connection, job, one)
        elif one.output and move.target is JobState.SUCCEEDED:
            artifacts.register_output(connection, job, attempt, one.output)
    done = {attempt for attempt, _ in accepted if attempt.job_id in moved}
    return Reported(lost=tuple(str(attempt) for attempt, _ in reports if attempt not in done))


def resumed(connection: Connection, holder: Holder, attempt: AttemptId, told: Resumed) -> None:
    """Write down from where an attempt really goes on, and what it had to pass over. Raises LeaseLost."""
    standing(connection, [attempt.job_id])  # the job first, as everywhere
    require(hold(connection, holder, [attempt]), attempt)
    statement = "UPDATE attempts SET resumed_from_step = :step WHERE job_id = :job AND epoch = :epoch"
    connection.execute(text(statement), {"step": told.step, "job": attempt.job_id, "epoch": attempt.epoch})
    skipped = " ".join(f"Step {one.step} could not be had from {one.store}: {one.why}" for one in told.skipped)
    message = f"Resumed from the checkpoint at step {told.step} in {told.store}. {skipped}"
    note(connection, attempt.job_id, Reason.RESUMED_ELSEWHERE, message[:LONGEST_MESSAGE], "worker")
