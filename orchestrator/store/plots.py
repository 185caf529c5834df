"""Metrics as they are drawn: no more points than a screen has room for, and none of the peaks lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.store.fragments import distinct

POINTS = 600
"""A curve with more points than these is drawn from the lowest and the highest value of each stretch of steps."""
SERIES = 200


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one job. `values` None stand for NaN and infinity."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float | None, ...]
    last: float | None
    lowest: float | None
    highest: float | None
    count: int


# Where a resumed attempt repeated a step, the newest attempt's value counts.
_POINTS = """
WITH every AS (
  SELECT DISTINCT ON (name, step) name, step, CASE WHEN value = 'NaN' OR abs(value) = 'Infinity' THEN NULL
    ELSE value END AS value
  FROM metrics WHERE job_id = :job AND name = ANY(CAST(:names AS text[])) ORDER BY name, step, epoch DESC
), placed AS (
  SELECT name, step, value, count(*) OVER w AS points,
    (row_number() OVER (PARTITION BY name ORDER BY step) - 1) * :stretches / count(*) OVER w AS stretch
  FROM every WINDOW w AS (PARTITION BY name)
), ranked AS (
  SELECT *, row_number() OVER (PARTITION BY name, stretch ORDER BY value, step) AS low,
    row_number() OVER (PARTITION BY name, stretch ORDER BY value DESC NULLS LAST, step) AS high,
    row_number() OVER (PARTITION BY name ORDER BY step DESC) AS from_end
  FROM placed
)
SELECT name, step, value, points FROM ranked
WHERE points <= :stretches * 2 OR low = 1 OR high = 1 OR from_end = 1 ORDER BY name, step
"""
_SUMMARY = """
    SELECT name, min(value) AS lowest, max(value) AS highest FROM metrics
    WHERE job_id = :job AND name = ANY(CAST(:names AS text[])) AND value <> 'NaN' AND abs(value) <> 'Infinity'
    GROUP BY name
"""
_NAMES = distinct("name", "metrics", "job_id = :job", SERIES)


def names(connection: Connection, job_id: int) -> list[str]:
    """The names of a job's metrics, at most SERIES."""
    return list(connection.execute(text(_NAMES), {"job": job_id}).scalars())


def curves(connection: Connection, job_id: int, wanted: Sequence[str], points: int = POINTS) -> list[Curve]:
    """These metrics of a job, thinned out to about `points` each."""
    values = {"job": job_id, "names": list(wanted), "stretches": points // 2}
    found: dict[str, list[tuple[int, float | None, int]]] = {}
    for row in connection.execute(text(_POINTS), values):
        found.setdefault(row.name, []).append((row.step, row.value, row.points))
    ranges = {row.name: (row.lowest, row.highest) for row in connection.execute(text(_SUMMARY), values)}
    return [_curve(name, rows, ranges.get(name, (None, None))) for name, rows in found.items()]


def _curve(name: str, rows: Sequence[tuple[int, float | None, int]], span: tuple[float | None, float | None]) -> Curve:
    steps, values, counts = zip(*rows, strict=True)
    last = values[-1] if values[-1] is not None and math.isfinite(values[-1]) else None
    return Curve(name, steps, values, last, *span, counts[0])
