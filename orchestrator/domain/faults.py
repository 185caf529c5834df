"""Turns what pydantic found wrong into field errors that a person can act on: the path, the fault, the nearest key."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from orchestrator.domain.errors import FieldError, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PATTERN_HINTS = {
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "Use 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends.",
    r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$": "Write it as package.module:function.",
}


def dotted(path: Iterable[str | int]) -> str:
    """`("spec", "files", 0, "path")` as `spec.files[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {Union, types.UnionType, tuple, list, dict} or get_args(annotation):
        for argument in get_args(annotation):
            yield from _models_in(argument)


def _keys_at(root: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The field names, as written in documents, of the model that the path leads to."""
    model: type[BaseModel] | None = root
    for part in path:
        if model is None or isinstance(part, int):
            continue
        field = next((f for n, f in model.model_fields.items() if part in {n, f.alias}), None)
        model = next(iter(_models_in(field.annotation)), None) if field else None
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _unknown_key(error: ErrorDetails, root: type[BaseModel]) -> tuple[str, str | None]:
    *parents, key = error["loc"]
    keys = _keys_at(root, parents)
    guess = nearest(str(key), keys)
    hint = f"Did you mean {guess!r}?" if guess else f"Known here: {', '.join(sorted(keys))}." if keys else None
    return "unknown field", hint


def _pattern(error: ErrorDetails, _root: type[BaseModel]) -> tuple[str, str | None]:
    pattern = error["ctx"]["pattern"]
    return f"{str(error['input'])[:80]!r} is not allowed here", _PATTERN_HINTS.get(pattern, f"It must match {pattern}")


def _choice(error: ErrorDetails, _root: type[BaseModel]) -> tuple[str, str | None]:
    expected = str(error["ctx"]["expected"])
    guess = nearest(str(error["input"]), [choice.strip("' ") for choice in expected.replace(" or ", ",").split(",")])
    return (
        f"{str(error['input'])[:80]!r} is not one of {expected}",
        f"Did you mean {guess!r}?" if guess else None,
    )


def _value(error: ErrorDetails, _root: type[BaseModel]) -> tuple[str, str | None]:
    return str(error["ctx"]["error"]), None


_EXPLAIN: dict[str, Callable[[ErrorDetails, type[BaseModel]], tuple[str, str | None]]] = {
    "extra_forbidden": _unknown_key,
    "string_pattern_mismatch": _pattern,
    "enum": _choice,
    "literal_error": _choice,
    "value_error": _value,
}


def field_errors(error: ValidationError, root: type[BaseModel], rename: Callable[[str], str] = str) -> list[FieldError]:
    """Every fault in `error`; `rename` maps a dotted path of `root` to the path in the document."""
    found: list[FieldError] = []
    for detail in error.errors(include_url=False):
        raised = detail.get("ctx", {}).get("error")
        if faults := getattr(raised, "faults", None):
            found.extend(faults)
            continue
        explain = _EXPLAIN.get(detail["type"])
        message, hint = explain(detail, root) if explain else (detail["msg"][:1].lower() + detail["msg"][1:], None)
        location = [part for part in detail["loc"] if part != "[key]"]
        found.append(FieldError(rename(dotted(location)), message, hint))
    return found
