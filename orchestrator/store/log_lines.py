"""The lines of jobs' logs, which lie in chunks: read from any line on, in both directions."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.views import LogEntry


class LogPosition(NamedTuple):
    """A place in a job's log: after this line of this attempt."""

    epoch: int
    line: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.line}"

    @classmethod
    def parse(cls, value: str) -> LogPosition:
        """The position that a log entry's id names. Raises InvalidSpec."""
        epoch, _, line = value.partition(".")
        if not (epoch.isascii() and epoch.isdigit() and line.isascii() and line.isdigit() and len(value) < 32):
            raise InvalidSpec.of(
                [FieldError("after", f"{value[:80]!r} is not the id of a log line", "Ids look like 1.42.")]
            )
        return cls(int(epoch), int(line))


START = LogPosition(0, 0)
END = LogPosition(2**31 - 1, 2**62)

# The inner reading begins at a place in the primary key, the chunk with the line or the one before a gap. (A condition
# on `last_line` beside it misleads the planner into a full scan.) The outer one takes chunk by chunk apart and stops in
# the one with the last line. It has no ORDER BY, which would take all of them apart first, and needs none: lines that
# are taken from a chunk can only be joined to it by a loop over the chunks, and these come in order.
_READ = """
    SELECT epoch, first_line + ord - 1 AS line, line ->> 0 AS at, line ->> 1 AS stream, line ->> 2 AS text
    FROM (SELECT epoch, first_line, lines FROM log_chunks
          WHERE job_id = :job AND {begin} {only}
          ORDER BY epoch {sense}, first_line {sense} LIMIT {most} + 1) AS chunk
    CROSS JOIN LATERAL (SELECT line, ord FROM jsonb_array_elements(chunk.lines) WITH ORDINALITY AS one(line, ord)
          ORDER BY ord {sense}) AS entry
    WHERE (epoch, first_line + ord - 1) {than} (:epoch, :line)
    LIMIT {most}
"""
_FORWARDS = {
    "sense": "ASC",
    "than": ">",
    "begin": """(epoch, first_line) >= (:epoch, coalesce((SELECT max(c.first_line) FROM log_chunks c
              WHERE c.job_id = :job AND c.epoch = :epoch AND c.first_line <= :line + 1), 0))""",
}
_BACKWARDS = {"sense": "DESC", "than": "<", "begin": "(epoch, first_line) < (:epoch, :line)"}


def reading(*, forwards: bool, most: int, one_attempt: bool = False) -> str:
    """A query for up to `most` lines of `:job`, from the position (`:epoch`, `:line`) on; with `one_attempt`, only of
    the attempt `:only`."""
    only = "AND epoch = :only" if one_attempt else ""
    return _READ.format(most=most, only=only, **(_FORWARDS if forwards else _BACKWARDS))


def entry(row: Any) -> LogEntry:
    """A line of a log from its row."""
    return LogEntry(
        id=str(LogPosition(row.epoch, row.line)),
        epoch=row.epoch,
        line=row.line,
        at=float(row.at),
        stream=row.stream,
        text=row.text,
    )


_ROUND = 1000
_ROUNDS = 20
"""So many lines, so many times, are read in search of those of a time; who asks again goes on from there."""


class Lines(NamedTuple):
    """Lines in order. Reading has come as far as `reached`; `whole`: there are no more after it."""

    entries: list[LogEntry]
    reached: LogPosition
    whole: bool


def lines(connection: Connection, job_id: int, after: LogPosition, limit: int, since: datetime | None = None) -> Lines:
    """Up to `limit` lines after a position; with `since`, only what was written at or after that time, of which there
    may be none although there are some later."""
    earliest, most = (-math.inf, limit) if since is None else (moment(since), _ROUND)
    kept: list[LogEntry] = []
    for _ in range(_ROUNDS):
        found = _read(connection, job_id, reading(forwards=True, most=most), after)
        for one in found:
            after = LogPosition(one.epoch, one.line)
            if one.at >= earliest:
                kept.append(one)
            if len(kept) == limit:
                return Lines(kept, after, whole=False)
        if len(found) < most:
            return Lines(kept, after, whole=True)
    return Lines(kept, after, whole=False)


def moment(time: datetime) -> float:
    """Seconds since the epoch; a time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def tail(
    connection: Connection, job_id: int, count: int, after: LogPosition = START, since: datetime | None = None
) -> list[LogEntry]:
    """The last `count` lines, in order; of these, only what comes after a position and since a time."""
    earliest = -math.inf if since is None else moment(since)
    last = _read(connection, job_id, reading(forwards=False, most=count), END)[::-1]
    return [one for one in last if LogPosition(one.epoch, one.line) > after and one.at >= earliest]


def _read(connection: Connection, job_id: int, query: str, at: LogPosition) -> list[LogEntry]:
    return [entry(row) for row in connection.execute(text(query), {"job": job_id, **at._asdict()})]
