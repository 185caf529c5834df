"""A job's document as something to run again: YAML, a shell command, Python; and what differs between two."""

from __future__ import annotations

import difflib
import pprint
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.yaml import dump


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to submit the same again."""

    name: str
    text: str


def of(document: Mapping[str, Any]) -> tuple[Recipe, ...]:
    """The ways to submit this document again; each of them is complete."""
    document = _ordered(document)
    yaml = dump(document)
    return (Recipe("YAML", yaml), Recipe("CLI", _shell(yaml)), Recipe("SDK", _python(document)))


_TOP = ("apiVersion", "kind", "metadata", "spec")
_FIRST = ("name", "workload", "command", "entrypoint", "image", "model", "artifact", "dataset", "params")


def _ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as people write it; the database keeps keys in an order of its own."""
    whole = {key: document[key] for key in _TOP if key in document} | dict(document)
    for part in ("metadata", "spec"):
        inner = whole.get(part, {})
        whole[part] = {key: inner[key] for key in _FIRST if key in inner} | dict(sorted(inner.items()))
    return whole


def _shell(yaml: str) -> str:
    """A command line that needs no file. A here-document cannot be ended by any line of the YAML."""
    lines, mark = yaml.splitlines(), "EOF"
    while mark in lines:
        mark += "_"
    return f"neutrino apply -f - <<'{mark}'\n{yaml.rstrip()}\n{mark}\n"


def _python(document: Mapping[str, Any]) -> str:
    shown = pprint.pformat(dict(document), sort_dicts=False, width=96)
    return f"from orchestrator import Client\n\njob = Client().jobs.submit({shown})\n"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a comparison: `kind` is `same`, `out` or `in`."""

    kind: str
    text: str


_KINDS = {"-": "out", "+": "in", " ": "same"}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[DiffLine, ...]:
    """How the YAML of one document becomes that of another; empty when they are equal."""
    before, after = dump(_ordered(old)).splitlines(), dump(_ordered(new)).splitlines()
    if before == after:
        return ()
    compared = difflib.ndiff(before, after)
    return tuple(DiffLine(_KINDS[line[0]], line[2:]) for line in compared if line[0] in _KINDS)


def flat(value: Any, path: str = "") -> dict[str, str]:
    """A document as dotted paths and short texts, to be compared side by side."""
    if isinstance(value, Mapping) and value:
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= flat(inner, f"{path}.{key}" if path else str(key))
        return found
    return {path: value if isinstance(value, str) else dump(value).strip().removesuffix("...").strip()}
