"""What people type into the search box of the list of jobs, and the same as a filter.

`state:failed user:ada team=vision digits`: a word is part of a job's name, `key:value` is one of KEYS, `key=value` a
label.
Everything that narrows the list is in this one text, which stands in the address; a facet only adds to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.errors import nearest
from orchestrator.domain.state import JobState
from orchestrator.store.filters import JobFilter

KEYS = ("state", "reason", "kind", "user", "pool", "name")
MOST = 20
_TOKEN = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_JOB = re.compile(r"^j-[0-9a-z]{1,13}$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Query:
    """A search: its tokens as they were typed, the filter they make, and what of them was not understood."""

    tokens: tuple[str, ...]
    filter: JobFilter
    problems: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What stands in the box."""
        return " ".join(self.tokens)

    @property
    def job(self) -> str | None:
        """The id, when nothing but the id of one job was typed."""
        return self.tokens[0].lower() if len(self.tokens) == 1 and _JOB.match(self.tokens[0]) else None

    def has(self, facet: str, value: str) -> bool:
        """True when the list is narrowed to this choice of a facet."""
        return token(facet, value) in self.chips()

    def toggled(self, facet: str, value: str) -> str:
        """The text with a choice in place of the facet's other ones, or without it when it is there."""
        mine, plain = token(facet, value), self.chips()
        if mine in plain:
            return self.without(mine)
        facet_mark = re.match(r"[^:=]*[:=]", mine)
        assert facet_mark is not None
        return " ".join([*(each for each in plain if not each.startswith(facet_mark.group())), mine])

    def without(self, one: str) -> str:
        """The text without a token."""
        return " ".join(each for each in self.chips() if each != one)

    def chips(self) -> list[str]:
        """The tokens, each of which can be taken away: `state:failed,lost` are two."""
        found: list[str] = []
        for each in self.tokens:
            key, colon, value = each.partition(":")
            if key == "state" and colon:
                found += [f"state:{one.lower()}" for one in _unquoted(value).split(",") if one]
            else:
                found.append(each)
        return list(dict.fromkeys(found))


def token(facet: str, value: str) -> str:
    """How a choice of a facet is typed."""
    quoted = f'"{value}"' if re.search(r"\s", value) or not value else value
    if facet.startswith("label:"):
        return f"{facet.removeprefix('label:')}={quoted}"
    return f"{facet}:{quoted.lower() if facet in {'state', 'kind'} else quoted}"


def _clean(text: str) -> str:
    """Postgres knows no NUL."""
    return text.replace("\x00", "")


def _unquoted(text: str) -> str:
    return text.replace('"', "")


def _states(chosen: JobFilter, value: str) -> JobFilter:
    states = tuple(JobState(one.upper()) for one in value.split(",") if one)
    return replace(chosen, states=tuple(dict.fromkeys((*chosen.states, *states))))


_SET: dict[str, Callable[[JobFilter, str], JobFilter]] = {
    "state": _states,
    "reason": lambda chosen, value: replace(chosen, reason=value.lower()),
    "kind": lambda chosen, value: replace(chosen, kind=value.capitalize()),
    "user": lambda chosen, value: replace(chosen, user=value),
    "pool": lambda chosen, value: replace(chosen, pool=value),
    "name": lambda chosen, value: replace(chosen, name=value),
}


def parse(text: str, more: Iterable[tuple[str, str]] = ()) -> Query:
    """Understand a search; `more` are choices of facets that came in parameters of their own."""
    given = [*_TOKEN.findall(text[:2000]), *(token(facet, value) for facet, value in more if value)]
    tokens = list(dict.fromkeys(each for each in map(_clean, given) if _unquoted(each)))
    chosen, problems = JobFilter(), list[str]()
    if len(tokens) > MOST:
        problems.append(f"Only the first {MOST} parts of the search count.")
    for each in tokens[:MOST]:
        chosen, problem = _understood(chosen, each)
        problems += [problem] if problem else []
    return Query(tuple(tokens[:MOST]), chosen, tuple(problems))


def _understood(chosen: JobFilter, each: str) -> tuple[JobFilter, str | None]:
    mark = re.search(r"[:=]", each)
    if mark is None:
        return replace(chosen, words=(*chosen.words, _unquoted(each).lower())), None
    key, value = each[: mark.start()], _unquoted(each[mark.end() :])
    if mark.group() == "=":
        return replace(chosen, labels=(*chosen.labels, (key, value))), None
    if key.lower() not in _SET:
        return chosen, _unknown(f"“{key}:” is not a filter", key, KEYS)
    try:
        return _SET[key.lower()](chosen, value), None
    except ValueError:
        return chosen, _unknown(f"“{value}” is not a state", value, [state.lower() for state in JobState])


def _unknown(what: str, given: str, known: Sequence[str]) -> str:
    guess = nearest(given.lower(), known)
    return f"{what}. " + (f"Did you mean {guess}?" if guess else f"Known are {', '.join(known)}.")
