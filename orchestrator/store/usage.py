"""What attempts have used, added up by day once they are over: what a month cost is read from some thousand rows.

Each is added in once. `usage_until` says how far that has come: every attempt that ended by then is in `usage`,
and none that ended later. It never goes past a transaction that may still end an attempt.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

NODES = "coalesce((j.document -> 'spec' -> 'resources' ->> 'nodes')::int, 1)"
"""How many slots an attempt of the job `j` holds."""
COSTS_SINCE = "CASE WHEN p.pods IS NULL THEN a.started_at ELSE a.attached_at END"
"""Since when the attempt `a` costs what a slot of the pool `p` costs: since its claim, but where it waits for its pods
first, since the first of them began; null before."""
_MARGIN_SECONDS = 60

_UNTIL = "SELECT until FROM usage_until FOR UPDATE SKIP LOCKED"
# Whoever ends an attempt writes the time at which it does, which is not before its transaction began. What transactions
# have written that began before the horizon is visible to the next statement.
_HORIZON = f"""
    SELECT least(now() - {_MARGIN_SECONDS} * interval '1 second', min(xact_start)) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_NEXT = """
    SELECT max(finished_at) AS until, count(*) AS attempts FROM (
      SELECT finished_at FROM attempts WHERE finished_at > :until AND finished_at < :horizon
      ORDER BY finished_at LIMIT :most) AS ended
"""
_ADD = f"""
    INSERT INTO usage AS u (workspace_id, facet, at, pool_id, key, hours, attempts)
    SELECT j.workspace_id, f.facet, d.at, a.pool_id, f.key,
      sum(CAST(extract(epoch FROM s.until - s.since) AS float8) / 3600 * {NODES}),
      count(*) FILTER (WHERE s.since = c.since)
    FROM attempts a JOIN jobs j ON j.id = a.job_id JOIN pools p ON p.id = a.pool_id
    CROSS JOIN LATERAL (SELECT {COSTS_SINCE} AS since) AS c
    CROSS JOIN LATERAL generate_series(
      date_trunc('day', c.since), a.finished_at, interval '1 day') AS d (at)
    CROSS JOIN LATERAL (
      SELECT greatest(c.since, d.at), least(a.finished_at, d.at + interval '1 day')) AS s (since, until)
    CROSS JOIN LATERAL (
      VALUES ('kind', j.kind), ('user', j.user_name), ('job', j.name)
      UNION ALL SELECT 'label:' || label.key, label.value FROM jsonb_each_text(j.labels) AS label) AS f (facet, key)
    WHERE a.finished_at > :until AND a.finished_at <= :next AND s.until > s.since
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
    ON CONFLICT (workspace_id, facet, at, pool_id, key)
      DO UPDATE SET hours = u.hours + excluded.hours, attempts = u.attempts + excluded.attempts
"""


def until(connection: Connection) -> datetime:
    """Until when attempts have been added in."""
    found: datetime = connection.execute(text("SELECT until FROM usage_until")).scalar_one()
    return found


def add_up(connection: Connection, most: int) -> int:
    """Add in up to `most` attempts (and those that ended in the same moment as the last of them); returns how many. 0:
    there is nothing to add, or another replica does."""
    begin = connection.execute(text(_UNTIL)).scalar()
    if begin is None:
        return 0
    horizon = connection.execute(text(_HORIZON)).scalar_one()
    following = connection.execute(text(_NEXT), {"until": begin, "horizon": horizon, "most": most}).one()
    if not following.attempts:
        return 0
    connection.execute(text(_ADD), {"until": begin, "next": following.until})
    connection.execute(text("UPDATE usage_until SET until = :next"), {"next": following.until})
    return int(following.attempts)
