"""Attempts that live in pods: taken over from their launcher, kept alive, and what is said of them meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.ids import AttemptId
from orchestrator.domain.protocol import Lease, NodeBeat, NodeReply, PodWait
from orchestrator.store import checkpoints, inputs, transfers
from orchestrator.store.attempts import granted, wanted
from orchestrator.store.fence import LIVE, Holder, hold
from orchestrator.store.notify import JOBS, notify

_ATTACH = """
    UPDATE attempts a SET
      attached_at = coalesce(attached_at, clock_timestamp()),
      lease_expires_at = CASE WHEN :leads THEN clock_timestamp() + :lease * interval '1 second'
        ELSE lease_expires_at END,
      node_pods = coalesce(node_pods, '{}') || jsonb_build_object(CAST(:node AS text), CAST(:pod AS text))
    FROM jobs j, pools p
    WHERE a.job_id = :job_id AND a.epoch = :epoch AND j.id = a.job_id AND p.id = a.pool_id
      AND coalesce(a.node_pods ->> CAST(:node AS text), :pod) = :pod
    RETURNING j.id, j.document, j.workspace_id, j.traceparent, p.store, p.id AS pool_id
"""


def attach(
    connection: Connection, attempt: AttemptId, node: int, pod: str, token: str, lease: float
) -> tuple[Lease, str]:
    """A pod takes a node of its attempt over: from now on the first node renews the lease, and the launcher does not.
    Each node is one pod's: what Kubernetes may make in its place is turned away, because nothing tells that the first
    one has ended. Returns the lease and the store of the pool. Raises LeaseLost."""
    if not hold(connection, Holder(attempt=attempt), [attempt]):
        raise LeaseLost(
            f"Attempt {attempt} no longer holds its lease.", hint="End; the job goes on in another attempt."
        )
    values = {**attempt._asdict(), "leads": node == 0, "node": str(node), "pod": pod, "lease": lease}
    row = connection.execute(text(_ATTACH), values).one_or_none()
    if row is None:
        raise LeaseLost(f"Node {node} of attempt {attempt} runs in another pod.", hint="End; that one goes on.")
    sources = checkpoints.resumable(connection, [attempt.job_id], row.pool_id).get(attempt.job_id, ())
    reads = inputs.granted(connection, [row], row.pool_id).get(row.id, ())
    order = transfers.orders(connection, [row], row.pool_id).get(row.id)
    return granted(attempt, row, token, sources, reads, order), row.store


_BEAT = f"""
    WITH held AS (
      SELECT a.job_id, a.epoch FROM attempts a WHERE a.job_id = :job_id AND a.epoch = :epoch AND {LIVE}
      FOR NO KEY UPDATE
    )
    UPDATE attempts a SET
      lease_expires_at = CASE WHEN :node = 0 THEN clock_timestamp() + :lease * interval '1 second'
        ELSE a.lease_expires_at END,
      done_nodes = CASE WHEN :done AND NOT :node = ANY(coalesce(a.done_nodes, '{{}}'))
        THEN array_append(coalesce(a.done_nodes, '{{}}'), :node) ELSE a.done_nodes END
    FROM held JOIN jobs j ON j.id = held.job_id
    WHERE a.job_id = held.job_id AND a.epoch = held.epoch
    RETURNING j.state, a.asked, cardinality(coalesce(a.done_nodes, '{{}}')) AS done
"""


def beat(connection: Connection, attempt: AttemptId, said: NodeBeat, lease: float) -> NodeReply:
    """Renew the lease that a pod holds, and tell it what to do."""
    values = {**attempt._asdict(), "node": said.node, "done": said.done, "lease": lease}
    row = connection.execute(text(_BEAT), values).one_or_none()
    if row is None:
        return NodeReply(lost=(str(attempt),))
    return NodeReply(done=row.done, **dict.fromkeys(wanted(row.state, row.asked), (str(attempt),)))


_SAY = f"""
    WITH said AS (
      SELECT * FROM unnest(CAST(:jobs AS bigint[]), CAST(:epochs AS int[]), CAST(:reasons AS text[]),
        CAST(:messages AS text[])) AS s(job_id, epoch, reason, message)
    ), news AS (
      SELECT j.id, s.reason, s.message
      FROM said s JOIN jobs j ON j.id = s.job_id AND j.epoch = s.epoch
      JOIN attempts a ON a.job_id = s.job_id AND a.epoch = s.epoch
      WHERE j.state = 'RUNNING' AND a.worker_id = :worker AND {LIVE}
        AND (j.reason, j.message) IS DISTINCT FROM (s.reason, s.message)
      ORDER BY j.id FOR NO KEY UPDATE OF j
    )
    UPDATE jobs j SET reason = news.reason, message = news.message FROM news WHERE j.id = news.id
    RETURNING j.id
"""


_TROUBLE = """
    WITH told AS (
      SELECT j.id FROM jobs j JOIN workers w ON w.pool_id = j.pool_id
      WHERE w.id = :worker AND j.state = 'DISPATCHED' AND j.message <> :words
      ORDER BY j.id FOR NO KEY UPDATE OF j
    )
    UPDATE jobs j SET message = :words FROM told WHERE j.id = told.id
    RETURNING j.id
"""


def trouble(connection: Connection, worker_id: int, words: str) -> None:
    """Let the jobs that wait in the window of a launcher say why it claims none."""
    told = list(connection.execute(text(_TROUBLE), {"worker": worker_id, "words": words}).scalars())
    if told:
        notify(connection, {JOBS: told})


def say(connection: Connection, worker_id: int, waits: Sequence[tuple[AttemptId, PodWait]]) -> None:
    """Write down beside their jobs why attempts wait, or where they run: only while they live, only what is new."""
    if not waits:
        return
    values: dict[str, Any] = {
        "worker": worker_id,
        "jobs": [attempt.job_id for attempt, _ in waits],
        "epochs": [attempt.epoch for attempt, _ in waits],
        "reasons": [one.reason.value for _, one in waits],
        "messages": [one.message for _, one in waits],
    }
    told = list(connection.execute(text(_SAY), values).scalars())
    if told:
        notify(connection, {JOBS: told})
