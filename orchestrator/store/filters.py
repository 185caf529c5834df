"""How a filter of jobs is read at the same cost however many jobs there are.

Each of its parts has an index: the jobs that fit it can be read in there, and whether one job is among them is a look
into that index, not at the job. Which part is the narrowest is found out by counting each in its index, up to NARROW.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from orchestrator.domain.state import JobState

NARROW = 8_000
"""So many jobs are read and sorted for one page."""
_NAMES = 1_000
"""So many names are looked up one by one; more of them are no narrow filter."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """What a list shows; None and empty mean all. `labels` must all match, and all `words` must be in the name."""

    states: Sequence[JobState] = ()
    name: str | None = None
    labels: Sequence[tuple[str, str]] = field(default_factory=tuple)
    user: str | None = None
    kind: str | None = None
    pool: str | None = None
    since: datetime | None = None
    reason: str | None = None
    words: Sequence[str] = ()


class Part(NamedTuple):
    """A part of a filter, by its condition on a row `k`. `ordered`: its jobs can be read in the order of their ids.
    `own`: it has an index that ends in the job's id. `of_row`: the same of the row of the job `j`, where it differs."""

    condition: str
    ordered: bool = True
    own: bool = True
    table: str = "jobs"
    job: str = "k.id"
    of_row: str | None = None

    def _select(self, what: str) -> str:
        return f"SELECT {what} FROM {self.table} k WHERE k.workspace_id = :workspace AND {self.condition}"

    @property
    def ids(self) -> str:
        """The ids of its jobs."""
        return self._select(f"{self.job} AS id")

    @property
    def fits(self) -> str:
        """Whether the job `j` is one of them. It is a value, because for EXISTS Postgres may like to read all of them;
        and a range, because for a single row it takes any index that has the id, and looks at the job."""
        return f"({self._select('true')} AND {self.job} {'BETWEEN j.id AND j.id' if self.own else '= j.id'}) IS TRUE"


@dataclass(slots=True)
class Plan:
    """How a filter is read, for everything that a page asks of it. `best` is its narrowest part; `few`: that leaves few
    jobs. `sampled` are the newest jobs that the filter lets through, once they are known, and whether there may be
    more."""

    workspace_id: int
    chosen: JobFilter
    parts: list[Part]
    values: dict[str, Any]
    best: Part | None = None
    few: bool = False
    sampled: tuple[list[int], bool] | None = None

    @property
    def narrow(self) -> str | None:
        """A query for the few jobs that the narrowest part leaves; None when it leaves many."""
        return f"{self.best.ids} LIMIT {NARROW}" if self.best and self.few else None

    def source(self) -> tuple[str, Part | None]:
        """What of `j` can be read in the order of ids, and which part is done with then."""
        if self.narrow:
            return f"({self.narrow}) AS j WHERE true", self.best
        if self.best and self.best.ordered:
            return f"({self.best.ids}) AS j WHERE true", self.best
        return "jobs j WHERE j.workspace_id = :workspace", None

    def fits(self, done: Part | None = None, *, row: bool = False) -> str:
        """Whether `j` is among the jobs of all parts; `done` has been seen to. `row`: its row is read anyway."""
        left = [part for part in self.parts if part is not done]
        looks = [(part.of_row or part.condition.replace("k.", "j.")) if row else part.fits for part in left]
        return " AND ".join([*looks, "true"])

    def named(self, done: Part | None = None, *, row: bool = False) -> str:
        """Whether the name of `j` has all words in it. `row`: its row is read anyway."""
        words = [f"name LIKE :word{index}" for index in range(len(self.chosen.words))]
        if not words or (done is not None and done.condition == _NAMED):
            return "true"
        return (
            " AND ".join(f"j.{word}" for word in words)
            if row
            else (f"(SELECT {' AND '.join(words)} FROM jobs k WHERE k.id = j.id)")
        )


# The reasons of a job that goes its usual way belong to one state each and are in no index of their own.
_USUAL = {"submitted": "QUEUED", "placed": "DISPATCHED", "claimed": "RUNNING", "succeeded": "SUCCEEDED"}
UNUSUAL = "reason <> ALL (ARRAY['submitted', 'placed', 'claimed', 'succeeded'])"
_NAMED = "k.name = ANY(CAST(:names AS text[]))"


_COLUMNS = {
    "name": "k.name = :name",
    "user": "k.user_name = :user",
    "kind": "k.kind = :kind",
    "pool": "k.pool_id = (SELECT id FROM pools WHERE name = :pool)",
}


def _reason(reason: str, values: dict[str, Any]) -> Part:
    values["reason"] = reason
    if reason not in _USUAL:
        return Part(f"k.reason = :reason AND k.{UNUSUAL}")
    values["usual"] = _USUAL[reason]
    return Part("k.state = :usual AND k.reason = :reason")


def _states(states: Sequence[JobState], values: dict[str, Any]) -> Part:
    if len(states) == 1:
        values["state"] = states[0].value
        return Part("k.state = :state")
    values["states"] = [state.value for state in states]
    return Part("k.state = ANY(CAST(:states AS text[]))", ordered=False)


def _parts(chosen: JobFilter, values: dict[str, Any]) -> list[Part]:
    """What a filter consists of, but for its words, the ones that are usually narrow first."""
    given = {name: value for name in _COLUMNS if (value := getattr(chosen, name)) is not None}
    values |= given
    found = [_reason(chosen.reason, values)] if chosen.reason is not None else []
    found += [Part(_COLUMNS[name]) for name in given]
    if chosen.states:
        found.append(_states(chosen.states, values))
    for index, (key, value) in enumerate(chosen.labels):
        condition, row = f"k.key = :key{index} AND k.value = :value{index}", f"j.labels @> CAST(:label{index} AS jsonb)"
        found.append(Part(condition, table="job_labels", job="k.job_id", of_row=row))
        values |= {f"key{index}": key, f"value{index}": value, f"label{index}": json.dumps({key: value})}
    if chosen.since is not None:
        found.append(Part("k.created_at >= :since", ordered=False, own=False))
        values["since"] = chosen.since
    return found


def containing(word: str) -> str:
    """The pattern of LIKE for names with a word in them."""
    escaped = word.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def plan(connection: Connection, workspace_id: int, chosen: JobFilter, *, by_age: bool = False) -> Plan:
    """Find out how to read what `chosen` lets through. `by_age`: only in the order of ids, in which the jobs of a part
    that is the only one can be read however many they are."""
    values: dict[str, Any] = {"workspace": workspace_id}
    parts = _parts(chosen, values)
    values |= {f"word{index}": containing(word) for index, word in enumerate(chosen.words)}
    made = Plan(workspace_id, chosen, parts, values)
    drives = list(parts)
    if chosen.words and (names := _names(connection, values, len(chosen.words))) is not None:
        values["names"] = names
        drives.append(Part(_NAMED, ordered=False))
    if by_age and len(drives) == 1 and drives[0].ordered:
        made.best = drives[0]
    elif drives:
        counts = _counts(connection, drives, values)
        made.best = min(drives, key=lambda part: counts[part])
        made.few = counts[made.best] <= NARROW
        parts.sort(key=lambda part: counts[part])
    return made


def _counts(connection: Connection, parts: Sequence[Part], values: dict[str, Any]) -> dict[Part, int]:
    columns = ", ".join(
        f"(SELECT count(*) FROM ({part.ids} LIMIT {NARROW + 1}) AS p{n}) AS n{n}" for n, part in enumerate(parts)
    )
    return dict(zip(parts, connection.execute(text(f"SELECT {columns}"), values).one(), strict=True))


def _names(connection: Connection, values: dict[str, Any], words: int) -> list[str] | None:
    """The names with all of the words in them; None when there are too many for a narrow filter."""
    wanted = " AND ".join(f"name LIKE :word{index}" for index in range(words))
    statement = f"SELECT name FROM job_names WHERE workspace_id = :workspace AND {wanted} LIMIT {_NAMES + 1}"
    found = list(connection.execute(text(statement), values).scalars())
    return found if len(found) <= _NAMES else None
