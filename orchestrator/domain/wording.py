"""What pydantic finds wrong, in our words: what must be there, what is there instead, and how to mend it."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.domain.errors import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from orchestrator.domain.location import FieldLocation

Words = tuple[str, str | None]

_PATTERN_HINTS = {
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "Use 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends.",
    r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$": "Write it as package.module:function.",
    r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$": (
        "Use 1 to 63 of a-z, A-Z, 0-9, '.', '_', '/' and '-', with a letter or digit at both ends."
    ),
    r"^[^\x00-\x1f\x7f]*$": "Write it on one line, without control characters.",
    r"^[^\x00-\x1f\x7f]{0,128}$": "Use at most 128 characters on one line, without control characters.",
    r"^[0-9a-f]{64}$": "Write the SHA-256 as 64 of 0-9 and a-f.",
}
_TIME = "Write it like 2026-01-31T12:00:00Z."
_NUMBER = "Write a plain number, such as 4."
_KINDS: Mapping[str, Words] = {
    "bool": ("true or false", None),
    "int": ("a whole number", _NUMBER),
    "float": ("a number", _NUMBER),
    "decimal": ("a number", _NUMBER),
    "finite": ("a finite number", _NUMBER),
    "string": ("text", None),
    "bytes": ("text", None),
    "dict": ("a mapping", "Write it as {key: value}."),
    "mapping": ("a mapping", "Write it as {key: value}."),
    "model": ("a mapping", "Write it as {key: value}."),
    "list": ("a list", None),
    "tuple": ("a list", None),
    "set": ("a list", None),
    "datetime": ("a time", _TIME),
    "date": ("a date", "Write it like 2026-01-31."),
    "time": ("a time", _TIME),
    "timezone": ("a time with its zone", _TIME),
    "none": ("null", None),
}
"""By the first word of pydantic's type of error (`int_parsing`): what is needed, and how to write it."""


def _shown(value: Any) -> str:
    """A value as short text; of a list or mapping, what it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else reprlib.repr(value)


def _unknown_key(error: ErrorDetails, at: FieldLocation) -> Words:
    guess = nearest(str(error["loc"][-1]), at.keys)
    hint = f"Did you mean {guess!r}?" if guess else f"Known here: {', '.join(sorted(at.keys))}." if at.keys else None
    return "unknown field", hint


def _missing(error: ErrorDetails, _at: FieldLocation) -> Words:
    name = error["loc"][-1] if error["loc"] else ""
    return "is required", f"Add `{name}`." if isinstance(name, str) and name else None


def _pattern(error: ErrorDetails, _at: FieldLocation) -> Words:
    pattern = error["ctx"]["pattern"]
    return f"{str(error['input'])[:80]!r} is not allowed here", _PATTERN_HINTS.get(pattern, f"It must match {pattern}")


def _choice(error: ErrorDetails, _at: FieldLocation) -> Words:
    expected = str(error["ctx"]["expected"])
    guess = nearest(str(error["input"]), [choice.strip("' ") for choice in expected.replace(" or ", ",").split(",")])
    return (
        f"{str(error['input'])[:80]!r} is not one of {expected}",
        f"Did you mean {guess!r}?" if guess else None,
    )


def _value(error: ErrorDetails, _at: FieldLocation) -> Words:
    raised = error["ctx"]["error"]
    return getattr(raised, "fault", str(raised)), getattr(raised, "hint", None)


def _bound(words: str, limit: str) -> Callable[[ErrorDetails, FieldLocation], Words]:
    def explain(error: ErrorDetails, at: FieldLocation) -> Words:
        given = error["input"]
        instead = given if isinstance(given, str) else at.written(given) if isinstance(given, int | float) else ""
        instead = f", not {instead}" if 0 < len(instead) < 40 else ""
        return f"must be {words} {at.written(error['ctx'][limit])}{instead}", None

    return explain


def _length(words: str, limit: str, unit: str) -> Callable[[ErrorDetails, FieldLocation], Words]:
    def explain(error: ErrorDetails, _at: FieldLocation) -> Words:
        count = error["ctx"][limit]
        return f"must have {words} {count} {unit}{'' if count == 1 else 's'}", None

    return explain


def _kind(error: ErrorDetails, _at: FieldLocation) -> Words:
    """The value is of another kind than is needed."""
    needed, hint = _KINDS[error["type"].split("_")[0]]
    given = error["input"]
    plain = isinstance(given, str | int | float)
    if needed == "text" and plain:
        hint = f'Put it in quotes: "{_shown(given)}".'
    if needed == "a list" and plain:
        hint = f"Put it in brackets: [{', '.join(str(given)[:80].split())}]."
    return f"must be {needed}, not {_shown(given)}", hint


def _other(error: ErrorDetails, _at: FieldLocation) -> Words:
    message = error["msg"].replace("Input should be", "must be").replace("input was", "is")
    return message[:1].lower() + message[1:], None


_EXPLAIN: Mapping[str, Callable[[ErrorDetails, FieldLocation], Words]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "string_pattern_mismatch": _pattern,
    "enum": _choice,
    "literal_error": _choice,
    "value_error": _value,
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "too_short": _length("at least", "min_length", "item"),
    "too_long": _length("at most", "max_length", "item"),
    "string_too_short": _length("at least", "min_length", "character"),
    "string_too_long": _length("at most", "max_length", "character"),
    "string_unicode": lambda _error, _at: ("contains half of a surrogate pair, which is no character", None),
    "finite_number": lambda _error, _at: ("is not a finite number", _NUMBER),
    "invalid-json-value": lambda error, _at: (
        f"must be plain JSON data, not {type(error['input']).__name__}",
        "Use text, numbers, true, false, null, lists and mappings.",
    ),
}


def explain(error: ErrorDetails, at: FieldLocation) -> Words:
    """The fault and its way out, if one is known."""
    kind = error["type"]
    return _EXPLAIN.get(kind, _kind if kind.split("_")[0] in _KINDS else _other)(error, at)
