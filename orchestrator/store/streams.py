"""What running jobs write: log lines and metrics. Both are appended under the fence, and both outlive the worker."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.ids import AttemptId
from orchestrator.domain.protocol import MAX_NODES, Append
from orchestrator.domain.views import MetricSeries
from orchestrator.store.fence import Holder, hold
from orchestrator.store.notify import JOBS, notify

_CHUNKS = """
INSERT INTO log_chunks (job_id, epoch, first_line, last_line, seq, lines)
SELECT r.job_id, r.epoch, n.first, n.first + jsonb_array_length(r.lines) - 1, r.seq, r.lines
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(job_id bigint, epoch int, first_line bigint, seq bigint, lines jsonb)
CROSS JOIN LATERAL (SELECT coalesce(r.first_line, (
  SELECT c.last_line + 1 FROM log_chunks c WHERE c.job_id = r.job_id AND c.epoch = r.epoch
  ORDER BY c.first_line DESC LIMIT 1
), 1) AS first) AS n
ON CONFLICT DO NOTHING
"""
_POINTS = """
INSERT INTO metrics (job_id, epoch, name, step, value, at)
SELECT DISTINCT ON (job_id, name, step, epoch) job_id, epoch, name, step, value, at
FROM ROWS FROM (jsonb_to_recordset(CAST(:rows AS jsonb))
  AS (job_id bigint, epoch int, name text, step bigint, value float8, at float8)) WITH ORDINALITY
  AS r(job_id, epoch, name, step, value, at, ord)
ORDER BY job_id, name, step, epoch, ord DESC
ON CONFLICT (job_id, name, step, epoch) DO UPDATE SET value = excluded.value, at = excluded.at
"""
_WORKED = """
UPDATE attempts a SET first_metric_at = least(a.first_metric_at, r.first_at),
  last_metric_at = greatest(a.last_metric_at, r.last_at)
FROM (
  SELECT job_id, epoch, min(at) AS first_at, max(at) AS last_at
  FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS p(job_id bigint, epoch int, name text, at float8)
  WHERE NOT starts_with(name, 'sys/') GROUP BY job_id, epoch
) AS r
WHERE a.job_id = r.job_id AND a.epoch = r.epoch
"""
_PROGRESS = """
UPDATE attempts a SET progress = coalesce(r.progress, a.progress), note = coalesce(r.note, a.note)
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(job_id bigint, epoch int, progress float8, note text)
WHERE a.job_id = r.job_id AND a.epoch = r.epoch
"""


def append(connection: Connection, holder: Holder, batches: Sequence[tuple[AttemptId, Append]]) -> list[AttemptId]:
    """Store what attempts have written; a batch that came before is not stored twice. Returns the attempts that hold no
    live lease any more, from which nothing was taken."""
    held = hold(connection, holder, [attempt for attempt, _ in batches])
    chunks: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    progress: dict[AttemptId, dict[str, Any]] = {}
    for attempt, batch in batches:
        if attempt not in held:
            continue
        key = attempt._asdict()
        if batch.lines:
            # Postgres stores no NUL, neither in text nor in JSON.
            lines = [
                (line.at, line.stream, line.text.replace("\x00", "\N{REPLACEMENT CHARACTER}")) for line in batch.lines
            ]
            place = {"first_line": batch.first_line, "seq": batch.seq}
            if batch.node is not None:  # several write at once: the lock that `hold` took puts them in order
                place = {"seq": batch.seq * MAX_NODES + batch.node}
            chunks.append(key | place | {"lines": lines})
        points += [key | {"name": p.name, "step": p.step, "value": p.value, "at": p.at} for p in batch.metrics]
        if batch.progress is not None or batch.message is not None:
            last = progress.get(attempt, key | {"progress": None, "note": None})
            said = {"progress": batch.progress, "note": batch.message}
            progress[attempt] = last | {name: value for name, value in said.items() if value is not None}
    news = ((_CHUNKS, chunks), (_POINTS, points), (_WORKED, points), (_PROGRESS, list(progress.values())))
    for statement, rows in news:
        if rows:
            connection.execute(text(statement), {"rows": json.dumps(rows)})
    if held:
        notify(connection, {JOBS: [attempt.job_id for attempt in held]})
    return [attempt for attempt, _ in batches if attempt not in held]


_SERIES = """
SELECT DISTINCT ON (name, step) name, step, value FROM metrics
WHERE job_id = :job AND (CAST(:name AS text) IS NULL OR name = :name)
ORDER BY name, step, epoch DESC
"""


def series(connection: Connection, job_id: int, name: str | None = None) -> list[MetricSeries]:
    """A job's metrics by name. Where a resumed attempt repeated a step, the newest attempt's value counts."""
    found: dict[str, list[tuple[int, float | None]]] = {}
    for row in connection.execute(text(_SERIES), {"job": job_id, "name": name}):
        found.setdefault(row.name, []).append((row.step, row.value))
    views = []
    for key, points in found.items():
        values = [value for _, value in points if value is not None and math.isfinite(value)]
        views.append(
            MetricSeries(
                name=key,
                last=points[-1][1],
                min=min(values, default=None),
                max=max(values, default=None),
                points=tuple(points),
            )
        )
    return views
