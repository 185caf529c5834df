"""A job's log as people read it: from any line on, in both directions, and only what they look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.views import LogEntry
from orchestrator.store.streams import LogPosition, entry

EFFORT = 50_000
"""So many lines are looked through for one page."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines: of one stream, of one rank of a job of many processes, and with a text in them, in any case."""

    stream: str | None = None
    rank: int | None = None
    words: str = ""
    epoch: int | None = None

    @property
    def all(self) -> bool:
        """True when nothing is left out."""
        return self == LogFilter()


@dataclass(frozen=True, slots=True)
class LogLines:
    """Lines in order. `earlier` and `later` are where the reading goes on, None at the ends of the log; `looked` tells
    that it stopped before the page was full."""

    lines: tuple[LogEntry, ...]
    earlier: str | None
    later: str | None
    looked: bool = False


# Programs of many processes write who they are at the beginning of a line: `[rank3]: …`, `[3]: …`, `[default3]:…`.
# Source: https://docs.pytorch.org/docs/stable/elastic/run.html and torch's own messages
_RANK = r"^(\x1b\[[0-9;]*m)*\[(rank|default|node ?)?{rank}\]"

_READ = """
    SELECT epoch, line, at, stream, text FROM (
      SELECT epoch, first_line + ord - 1 AS line, line ->> 0 AS at, line ->> 1 AS stream, line ->> 2 AS text
      FROM (SELECT epoch, first_line, lines FROM log_chunks
            WHERE job_id = :job AND (epoch, {edge}) {than} (:epoch, :line) {attempt}
            ORDER BY epoch {sense}, first_line {sense} LIMIT {effort}) AS chunk,
        jsonb_array_elements(chunk.lines) WITH ORDINALITY AS entry(line, ord)
      WHERE (epoch, first_line + ord - 1) {than} (:epoch, :line)
      ORDER BY epoch {sense}, first_line + ord - 1 {sense} LIMIT {effort}
    ) AS looked_at
"""


def page(
    connection: Connection,
    job_id: int,
    chosen: LogFilter,
    *,
    after: LogPosition | None = None,
    before: LogPosition | None = None,
    limit: int = 500,
) -> LogLines:
    """The lines after a position, or those right before one; without either, the last ones."""
    forwards = after is not None
    at = after or before or LogPosition(2**31 - 1, 2**62)
    sense, than, edge = ("ASC", ">", "last_line") if forwards else ("DESC", "<", "first_line")
    few = limit + 1 if chosen.all or (chosen.epoch is not None and chosen == LogFilter(epoch=chosen.epoch)) else EFFORT
    attempt = "AND epoch = :only" if chosen.epoch is not None else ""
    read = _READ.format(sense=sense, than=than, edge=edge, effort=few, attempt=attempt)
    values: dict[str, Any] = {"job": job_id, "epoch": at.epoch, "line": at.line, "only": chosen.epoch}
    conditions = ["true"]
    if chosen.stream:
        conditions.append("stream = :stream")
        values["stream"] = chosen.stream
    if chosen.rank is not None:
        conditions.append("text ~ :rank")
        values["rank"] = _RANK.replace("{rank}", str(chosen.rank))
    if chosen.words:
        conditions.append("strpos(lower(text), lower(:words)) > 0")
        values["words"] = chosen.words
    statement = f"SELECT * FROM ({read}) AS l WHERE {' AND '.join(conditions)} LIMIT {limit + 1}"
    rows = connection.execute(text(statement), values).all()
    more = len(rows) > limit
    found = [entry(row) for row in rows[:limit]]
    stopped = None
    if not more and few == EFFORT:
        end = connection.execute(text(f"SELECT epoch, line FROM ({read}) AS l OFFSET {EFFORT - 1}"), values).first()
        stopped = str(LogPosition(end.epoch, end.line)) if end else None
    far = found[-1].id if more else stopped
    if not forwards:
        found.reverse()
        later = found[-1].id if found and before is not None else None
        return LogLines(tuple(found), far, later, stopped is not None)
    return LogLines(tuple(found), found[0].id if found else None, far, stopped is not None)


def parse(value: str | None) -> LogPosition | None:
    """The position that an id of a line names, None for none. Raises InvalidSpec for nonsense."""
    return None if not value else LogPosition.parse(value)


def ranks(entries: tuple[LogEntry, ...]) -> tuple[int, ...]:
    """The ranks that have written these lines, as far as the lines say."""
    pattern = re.compile(_RANK.replace("{rank}", r"(?P<rank>\d{1,5})"))
    found = {int(match["rank"]) for one in entries if (match := pattern.match(one.text))}
    return tuple(sorted(found))
