"""Turns what pydantic found wrong into field errors that a person can act on: the path, the fault, the nearest key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.domain.errors import FieldError
from orchestrator.domain.location import locate
from orchestrator.domain.wording import explain

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def field_errors(details: Iterable[ErrorDetails], root: Any, rename: Callable[[str], str] = str) -> list[FieldError]:
    """Every fault in `details`, which pydantic found in a value of the annotation `root`; `rename` maps a dotted path
    of `root` to the path in the document. A value that fits none of several forms has one fault that names them all."""
    found: list[FieldError] = []
    forms: dict[str, int] = {}
    details = list(details)
    places = [detail["loc"] for detail in details]
    for detail in details:
        if detail["type"] == "too_short" and any(detail["loc"] == one[:-1] for one in places):
            continue  # pydantic counts only the items that are right
        if faults := getattr(detail.get("ctx", {}).get("error"), "faults", None):
            found.extend(faults)
            continue
        at = locate(root, detail["loc"])
        message, hint = explain(detail, at)
        path = rename(at.path)
        if path in forms:
            before = found[forms[path]]
            found[forms[path]] = FieldError(path, _either(before.message, message), before.hint or hint)
            continue
        if at.chosen:
            forms[path] = len(found)
        found.append(FieldError(path, message, hint))
    return found


def _either(one: str, other: str) -> str:
    """`must be text, not 1` and `must be a list, not 1` as one."""
    needed, _, instead = one.partition(", not ")
    end = f", not {instead}"
    if other.removeprefix("must be ").removesuffix(end) in needed:
        return one
    if other.startswith("must be ") and other.endswith(end):
        return f"{needed} or {other.removeprefix('must be ').removesuffix(end)}{end}"
    return f"{one}, or {other}"


def beyond(faults: Iterable[FieldError], known: Iterable[FieldError]) -> list[FieldError]:
    """The faults that lie neither at nor below a place for which a fault is known already."""
    taken = [fault.path for fault in known]
    return [fault for fault in faults if not any(_within(fault.path, path) for path in taken)]


def _within(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))
