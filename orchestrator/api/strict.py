"""What a request may not be, whatever its route: of unknown parameters, of another kind of content, of two minds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant

from orchestrator.domain.errors import FieldError, InvalidSpec, UnsupportedMedia, nearest

_MOST_FAULTS = 20
_LONGEST_PATH = 500


async def strictly(request: Request) -> None:
    """Refuse query parameters that the route does not have, a body that is not JSON where JSON is read, and a body
    that says two things under one key. Raises InvalidSpec or UnsupportedMedia."""
    route = request.scope["route"]
    faults = _unknown_parameters(request, route.dependant) if request.url.query else []
    if route.body_field is not None and (body := await request.body()):
        _require_json(request.headers.get("content-type", ""))
        faults += doubled_keys(body)
    if faults:
        raise InvalidSpec.of(faults)


def _unknown_parameters(request: Request, dependant: Dependant) -> list[FieldError]:
    known = sorted(_parameters(dependant))
    faults = []
    for name in islice(dict.fromkeys(request.query_params.keys()), _MOST_FAULTS):
        if name not in known:
            guess = nearest(name, known)
            listed = f"Known here: {', '.join(known)}." if known else "This route has none."
            hint = f"Did you mean {guess!r}?" if guess else listed
            faults.append(FieldError(f"query.{name[:80]}", "unknown parameter", hint))
    return faults


def _parameters(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for each in dependant.dependencies:
        yield from _parameters(each)


def _require_json(content_type: str) -> None:
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        message = (
            f"The body is {kind[:80]}, and this route reads JSON." if kind else "The body does not say what it is."
        )
        raise UnsupportedMedia(message, hint="Send JSON with `Content-Type: application/json`.")


class _Doubled(dict[str, Any]):
    """An object in which a key stands more than once."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.keys_twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def doubled_keys(body: bytes) -> list[FieldError]:
    """A fault for each key that stands more than once in its object: readers of JSON disagree on which one counts."""
    found = list[_Doubled]()

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        found.append(_Doubled(pairs))
        return found[-1]

    document = json.loads(body, object_pairs_hook=hook)
    paths = islice(_paths(document, ""), _MOST_FAULTS) if found else ()
    return [FieldError(path, "stands here twice", "Keep one of them.") for path in paths]


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Doubled):
        yield from (_below(path, key) for key in value.keys_twice)
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _paths(child, _below(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _paths(child, f"{path}[{index}]")


def _below(path: str, key: str) -> str:
    """The path of a key, cut: a request of some megabytes must not become an answer of many more."""
    return (f"{path}.{key[:80]}" if path else key[:80])[:_LONGEST_PATH]
