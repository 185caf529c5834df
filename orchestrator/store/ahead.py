"""What goes ahead of a job that moves: a copy of its newest checkpoint, while it still runs, and a slot that is kept
for it where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.ids import encode
from orchestrator.domain.placement import PoolState
from orchestrator.domain.protocol import CheckpointRef
from orchestrator.domain.state import JobState, Reason
from orchestrator.store import replicas, transfers
from orchestrator.store.fragments import ONLINE
from orchestrator.store.notify import WORKERS, notify
from orchestrator.store.replicas import Near
from orchestrator.store.transitions import Change, Moved, note, transition

WAITS_SECONDS = 30.0
"""A job does not wait for a copy that nobody has begun to make after so long."""
SLOWEST = 10 * 1024**2
"""Bytes per second, a tenth of what plans reckon with; for a copy that is slower no job waits."""
LONGEST_SECONDS = 3600.0
"""So long a job waits at most for a copy, and a slot is kept for it where it goes."""
ACTOR = "reconciler"

_RECENT = """
    SELECT c.step, encode(c.digest, 'hex') AS digest, r.store, r.prefix FROM artifacts c
    CROSS JOIN LATERAL (SELECT store, prefix FROM replicas WHERE artifact_id = c.id AND state = 'verified' LIMIT 1) AS r
    WHERE c.job_id = :job AND c.kind = 'checkpoint' ORDER BY c.epoch DESC, c.step DESC, c.id DESC LIMIT 2
"""


def recent(connection: Connection, job_id: int) -> list[CheckpointRef]:
    """The two newest checkpoints of a job, the newest first: what they share, the next one will share with them."""
    rows = connection.execute(text(_RECENT), {"job": job_id})
    return [CheckpointRef(step=row.step, store=row.store, prefix=row.prefix, digest=row.digest) for row in rows]


_NEWEST = """
    SELECT id, workspace_id FROM artifacts WHERE job_id = :job AND kind = 'checkpoint'
    ORDER BY epoch DESC, step DESC, id DESC LIMIT 1 FOR KEY SHARE
"""


def send(connection: Connection, job_id: int, pool: PoolState) -> bool:
    """Begin to copy the newest checkpoint of a job next to the pool where it goes; False when there is nothing to
    copy, because it is there already or there is none."""
    newest = connection.execute(text(_NEWEST), {"job": job_id}).one_or_none()
    if newest is None:
        return False
    there = replicas.find(connection, newest.id, pool.store)
    if there is not None:
        return bool(there.state == "copying")
    good = replicas.sources(connection, newest.id, Near(pool.store, pool.cloud, pool.region))
    if not good:
        return False
    transfers.start(
        connection,
        newest.workspace_id,
        transfers.SYSTEM,
        artifact_id=newest.id,
        source=good[0].store,
        destination=pool.store,
        name=f"ahead-{encode('j', job_id)}",
    )
    return True


_ON_ITS_WAY = """
    SELECT FROM artifacts c JOIN replicas r ON r.artifact_id = c.id JOIN pools p ON p.store = r.store
    JOIN jobs t ON t.id = r.job_id
    WHERE c.job_id = j.id AND c.kind = 'checkpoint' AND p.id = a.bound_for AND r.state = 'copying'
"""
_READY = f"""
    SELECT j.id, a.epoch, a.worker_id, j.moved_to, EXISTS ({_ON_ITS_WAY}) AS late
    FROM attempts a JOIN jobs j ON j.id = a.job_id
    WHERE a.state = 'RUNNING' AND a.asked = 'ahead' AND j.state = 'RUNNING'
      AND NOT EXISTS ({_ON_ITS_WAY} AND t.created_at > clock_timestamp() - interval '1 second' * CASE t.state
        WHEN 'RUNNING' THEN least(:begin + c.size / :slowest, :longest) ELSE :begin END)
    ORDER BY j.id LIMIT 100 FOR NO KEY UPDATE OF j SKIP LOCKED
"""
_GO = "UPDATE attempts SET asked = 'move' WHERE job_id = :job AND epoch = :epoch AND asked = 'ahead'"


def follow(connection: Connection) -> int:
    """Let those jobs follow whose copies have arrived, or will not in time; returns how many."""
    values = {"begin": WAITS_SECONDS, "slowest": float(SLOWEST), "longest": LONGEST_SECONDS}
    ready = connection.execute(text(_READY), values).all()
    for job in ready:
        connection.execute(text(_GO), {"job": job.id, "epoch": job.epoch})
        how = "is not waited for any longer" if job.late else "has arrived"
        message = f"What went ahead to {job.moved_to} {how}: it is asked to save itself and to stop."
        note(connection, job.id, Reason.MIGRATING, message, ACTOR)
    if ready:
        notify(connection, {WORKERS: {job.worker_id for job in ready}})
    return len(ready)


_KEPT = f"""
    SELECT a.job_id, p.id AS pool_id, p.name, array_agg(w.id) AS workers
    FROM attempts a JOIN pools p ON p.id = a.bound_for
    LEFT JOIN clusters c ON c.id = p.cluster_id
    JOIN workers w ON w.pool_id = p.id AND NOT w.draining AND c.draining IS NOT TRUE AND {ONLINE}
    WHERE (a.job_id, a.epoch) IN (
      SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:epochs AS int[]))) AND a.reason = :reason
    GROUP BY a.job_id, p.id, p.name
"""


def land(connection: Connection, moved: Sequence[Moved], silence: float) -> None:
    """Jobs that have just given their place up for another one go to the slot that was kept for them, before anybody
    else is given it."""
    queued = [one for one in moved if one.target is JobState.QUEUED and one.reason == Reason.MIGRATING]
    if not queued:
        return
    values: dict[str, Any] = {
        "jobs": [one.job_id for one in queued],
        "epochs": [one.epoch for one in queued],
        "reason": Reason.MIGRATING,
        "silence": silence,
    }
    kept = connection.execute(text(_KEPT), values).all()
    changes = [
        Change(
            job_id=row.job_id,
            target=JobState.DISPATCHED,
            reason=Reason.PLACED,
            message=f"Goes on in pool {row.name}, where a slot is kept for it.",
            actor=ACTOR,
            pool_id=row.pool_id,
        )
        for row in kept
    ]
    landed = {one.job_id for one in transition(connection, changes)}
    notify(connection, {WORKERS: {worker for row in kept if row.job_id in landed for worker in row.workers}})
