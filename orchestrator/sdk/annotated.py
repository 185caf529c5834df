"""Parameters as a function's annotations want them: `"0.1"` and `1` become the `float` that it says it takes."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.faults import field_errors

_PLAIN = {str, int, float, bool, type(None), Any}
_MADE_OF_PLAIN = {list, tuple, dict, Union, types.UnionType}
_STRICT_ABOUT_NAN = ConfigDict(allow_inf_nan=False)


def fitted(function: Callable[..., Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, each as its annotation wants it. What is not annotated with JSON types stays as it is, and so
    does a parameter's own default. Raises InvalidSpec for every value that cannot be had so."""
    hints = _hints(function)
    defaults = {name: one.default for name, one in inspect.signature(function).parameters.items()}
    made, faults = dict(params), list[FieldError]()
    for name, value in params.items():
        if name not in hints or value is defaults.get(name) or not _plain(hints[name]):
            continue
        try:
            made[name] = TypeAdapter(hints[name], config=_STRICT_ABOUT_NAN).validate_python(value)
        except ValidationError as error:
            found = field_errors(error.errors(include_url=False), hints[name])
            faults += [FieldError(_below(name, fault.path), fault.message, fault.hint) for fault in found]
    if faults:
        raise InvalidSpec.of(faults)
    return made


def _below(name: str, path: str) -> str:
    return f"spec.params.{name}{'.' if path and path[0] != '[' else ''}{path}"


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation may be any expression; one that cannot be read says nothing
        return {}


def _plain(hint: Any) -> bool:
    """Whether values of the annotation are plain JSON data."""
    if get_origin(hint) is Literal:
        return True
    arguments = [one for one in get_args(hint) if one is not Ellipsis]
    if hint in {list, tuple, dict} or get_origin(hint) in _MADE_OF_PLAIN:
        return all(_plain(one) for one in arguments)
    return not arguments and hint in _PLAIN
