"""SQL that several statements have in common."""

from __future__ import annotations

ONLINE = "w.heartbeat_at > clock_timestamp() - :silence * interval '1 second'"
"""The worker `w` is there; `:silence` is for how long one may say nothing (`Settings.silence_seconds`)."""


def distinct(column: str, table: str, where: str, most: int = 2**31 - 1) -> str:
    """A query for the values of a column, in their order and up to `most`: as `value`, not null.

    It jumps from each value to the next through an index that begins with what `where` fixes and goes on with the
    column (a loose scan): a million rows of three values take four jumps.
    """
    return f"""
        WITH RECURSIVE v (value, n) AS (
          (SELECT {column}, 1 FROM {table} WHERE {where} ORDER BY 1 LIMIT 1)
          UNION ALL
          SELECT (SELECT {column} FROM {table} WHERE {where} AND {column} > v.value ORDER BY 1 LIMIT 1), n + 1
          FROM v WHERE v.value IS NOT NULL AND n < {most}
        )
        SELECT value FROM v WHERE value IS NOT NULL
    """
