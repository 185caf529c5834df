"""Where a fault that pydantic found stands in the document: its location without what only pydantic knows."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, ForwardRef, NamedTuple, Union, cast, get_args, get_origin

from pydantic import BaseModel, JsonValue, PlainSerializer, Tag

_UNIONS = {Union, types.UnionType}
_Writer = Callable[[Any], str]


class FieldLocation(NamedTuple):
    """A place in a document. `keys` are those known beside the last part of its path, `written` turns a value of the
    field into the text that people write for it, `chosen` tells that it lies in one of several forms of a value."""

    path: str
    keys: tuple[str, ...]
    written: _Writer
    chosen: bool


def dotted(path: Iterable[str | int]) -> str:
    """`("spec", "files", 0, "path")` as `spec.files[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def of_job(index: int, count: int) -> str:
    """What the path of a fault begins with in a request of `count` jobs."""
    return f"jobs[{index}]." if count > 1 else ""


def locate(root: Any, parts: Sequence[str | int]) -> FieldLocation:
    """What pydantic's location of a fault in a value of the annotation `root` means. Names are written as documents
    write them."""
    node, path, keys, chosen = root, list[str | int](), tuple[str, ...](), False
    for part in parts:
        node, _ = _bare(node)
        if part == "[key]":
            continue
        if get_origin(node) in _UNIONS:  # the part names the form in which pydantic tried to read the value
            node, chosen = _form(node, part), True
        elif isinstance(node, type) and issubclass(node, BaseModel):
            keys = tuple(field.alias or name for name, field in node.model_fields.items())
            name, node = _field(node, part)
            path.append(name)
        else:
            keys, node = (), _inside(node)
            path.append(part)
    return FieldLocation(dotted(path), keys, _bare(node)[1], chosen)


def _field(model: type[BaseModel], part: str | int) -> tuple[str | int, Any]:
    """A field's name in documents and its annotation; of what is no field, the part itself and nothing."""
    for name, field in model.model_fields.items():
        if part in {name, field.alias}:
            about = (field.annotation, *field.metadata)
            return field.alias or name, Annotated[about] if field.metadata else field.annotation
    return part, None


def _bare(node: Any) -> tuple[Any, _Writer]:
    """The annotation without aliases and the None beside it, and how its values are written."""
    written: _Writer = _plainly
    while True:
        if isinstance(node, str | ForwardRef) and "JsonValue" in str(node):  # it refers to itself by its name
            node = JsonValue
        if hasattr(node, "__value__"):
            node = node.__value__
        elif get_origin(node) is Annotated:
            node, *about = get_args(node)
            written = next((cast("_Writer", one.func) for one in about if isinstance(one, PlainSerializer)), written)
        elif get_origin(node) in _UNIONS and len(forms := _forms(node)) == 1:
            node = forms[0]
        else:
            return node, written


def _plainly(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _forms(union: Any) -> list[Any]:
    return [one for one in get_args(union) if one is not type(None)]


def _form(union: Any, name: str | int) -> Any:
    """The one of a union's forms that pydantic calls so; None when there is none of that name."""
    for form in _forms(union):
        tags = [one.tag for one in get_args(form)[1:] if isinstance(one, Tag)] if get_origin(form) is Annotated else []
        bare, _ = _bare(form)
        if name in tags or str(name).split("[", 1)[0] == getattr(get_origin(bare) or bare, "__name__", None):
            return bare
    return None


def _inside(node: Any) -> Any:
    """What the items of a list or the values of a mapping are."""
    arguments, origin = get_args(node), get_origin(node)
    if not arguments or not isinstance(origin, type):
        return None
    return arguments[-1] if issubclass(origin, Mapping) else arguments[0]
