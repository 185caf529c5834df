"""What workers call: the protocol's routes. See `orchestrator.domain.protocol` for what the messages mean."""

from __future__ import annotations

from fastapi import APIRouter

from orchestrator import settings
from orchestrator.api.auth import OnlyWorker, WorkerOrAttempt, holder, only_worker
from orchestrator.api.dependencies import Db
from orchestrator.domain.ids import decode, decode_attempt, encode
from orchestrator.domain.protocol import (
    AppendBatch,
    Appended,
    CheckpointCommitted,
    Claimed,
    ClaimRequest,
    Heartbeat,
    HeartbeatReply,
    Lease,
    PublishCheckpoint,
    RegisterWorker,
    ReportBatch,
    Reported,
    Resumed,
    StagedInputs,
    WorkerRegistered,
)
from orchestrator.queues import queue_for_pool, queue_for_worker
from orchestrator.store import attempts, checkpoints, clusters, doubts, fence, inputs, pods, pools, queue, streams
from orchestrator.store.session import Connection

router = APIRouter(prefix="/v1/worker", tags=["workers"])


@router.post("/register", dependencies=[OnlyWorker])
def register(db: Db, worker: RegisterWorker) -> WorkerRegistered:
    """A worker begins. What a predecessor of the same name held is given back at once: it is known to be gone."""
    with db.transaction() as connection:
        registered = pools.register(connection, worker)
        left_behind = () if worker.outlived else pools.held_attempts(connection, registered.worker_id)
        queue.lose_worker(connection, left_behind, f"worker:{encode('w', registered.worker_id)}")
    worker_id = encode("w", registered.worker_id)
    return WorkerRegistered(
        worker=worker_id,
        queues=(queue_for_pool(worker.pool), queue_for_worker(worker_id)),
        store=registered.store,
        lease_seconds=settings.current().lease_seconds,
        heartbeat_seconds=settings.current().heartbeat_seconds,
        pods=registered.pods,
    )


@router.post("/claim", dependencies=[OnlyWorker])
def claim(db: Db, request: ClaimRequest) -> Claimed:
    """Take up to so many dispatched attempts of the worker's pool."""
    with db.transaction() as connection:
        return Claimed(leases=_claim(connection, decode("w", request.worker), request.slots))


def _claim(connection: Connection, worker_id: int, slots: int) -> tuple[Lease, ...]:
    pool_id = pools.pool_of(connection, worker_id)
    return attempts.claim(connection, worker_id, pool_id, slots, settings.current().lease_seconds)


@router.post("/heartbeat", dependencies=[OnlyWorker])
def heartbeat(db: Db, beat: Heartbeat) -> HeartbeatReply:
    """Renew all leases of a worker in one call."""
    worker_id = decode("w", beat.worker)
    named = [decode_attempt(attempt) for attempt in beat.attempts]
    with db.transaction() as connection:
        pools.pool_of(connection, worker_id)
        reply = attempts.heartbeat(connection, worker_id, beat, named, settings.current().lease_seconds)
        if not beat.launcher:
            return reply
        wish = clusters.wish(connection, worker_id)
    # Jobs are locked before attempts, and in order: what is said of them has transactions of its own.
    with db.transaction() as connection:
        clusters.heard(connection, worker_id, beat.trouble)
    with db.transaction() as connection:
        pods.say(connection, worker_id, [(decode_attempt(one.attempt), one) for one in beat.waits])
    if beat.trouble:
        with db.transaction() as connection:
            pods.trouble(connection, worker_id, beat.trouble)
    said = {"check": wish.asked, "drain": wish.draining or reply.drain, "pool": wish.digest}
    return reply.model_copy(update=said)


@router.post("/append")
def append(db: Db, caller: WorkerOrAttempt, batch: AppendBatch) -> Appended:
    """Store log lines, metrics and progress of attempts that hold their lease."""
    named = [(decode_attempt(one.attempt), one) for one in batch.appends]
    with db.transaction() as connection:
        lost = streams.append(connection, holder(caller), named)
    return Appended(lost=tuple(str(attempt) for attempt in lost))


@router.post("/checkpoint")
def checkpoint(db: Db, caller: WorkerOrAttempt, published: PublishCheckpoint) -> CheckpointCommitted:
    """Make an uploaded artifact the newest checkpoint of its job. 409 `lease_lost` when the attempt is no longer it."""
    attempt = decode_attempt(published.attempt)
    with db.transaction() as connection:
        fence.require(fence.hold(connection, holder(caller), [attempt]), attempt)
        made, superseded = checkpoints.commit(connection, attempt, published.step, published.artifact)
    return CheckpointCommitted(artifact=encode("a", made), superseded=tuple(superseded))


@router.post("/resumed", status_code=204)
def resumed(db: Db, caller: WorkerOrAttempt, told: Resumed) -> None:
    """The attempt goes on from another checkpoint, or another copy, than its lease named first. 409 `lease_lost`."""
    attempt = decode_attempt(told.attempt)
    with db.transaction() as connection:
        attempts.resumed(connection, holder(caller), attempt, told)


@router.post("/staged", status_code=204)
def staged(db: Db, caller: WorkerOrAttempt, told: StagedInputs) -> None:
    """The attempt has its inputs. Copies in which it has found damage are checked. 409 `lease_lost`."""
    attempt = decode_attempt(told.attempt)
    with db.transaction() as connection:
        fence.require(fence.hold(connection, holder(caller), [attempt]), attempt)
        damaged = inputs.staged(connection, attempt, told)
    for copy in damaged:  # jobs are made without a lock on the attempt
        with db.transaction() as connection:
            doubts.look_into(connection, *copy)


@router.post("/report")
def report(db: Db, caller: WorkerOrAttempt, batch: ReportBatch) -> Reported:
    """End attempts and, with `slots`, claim new ones in the same transaction."""
    worker_id = decode("w", batch.worker)
    reports = [(decode_attempt(one.attempt), one) for one in batch.reports]
    with db.transaction() as connection:
        reported = attempts.report(connection, holder(caller, worker_id), reports)
        if not batch.slots:
            return reported
        only_worker(caller)
        leases = _claim(connection, worker_id, batch.slots)
    return Reported(lost=reported.lost, leases=leases)
