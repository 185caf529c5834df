"""A job's log as people read it: from any line on, in both directions, and only what they look for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.views import LogEntry
from orchestrator.store.log_lines import END, LogPosition, entry, reading

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
    at = after or before or END
    few = limit + 1 if chosen == LogFilter(epoch=chosen.epoch) else EFFORT
    read = reading(forwards=forwards, most=few, one_attempt=chosen.epoch is not None)
    values: dict[str, Any] = {"job": job_id, "only": chosen.epoch, **at._asdict()}
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


def ranks(entries: tuple[LogEntry, ...]) -> tuple[int, ...]:
    """The ranks that have written these lines, as far as the lines say."""
    pattern = re.compile(_RANK.replace("{rank}", r"(?P<rank>\d{1,5})"))
    found = {int(match["rank"]) for one in entries if (match := pattern.match(one.text))}
    return tuple(sorted(found))
