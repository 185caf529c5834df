"""Job documents: the nested form of a spec that YAML files and the API speak.

apiVersion: neutrino/v1
kind: Train
metadata: {name: digits-cnn, labels: {team: vision}}
spec: {workload: image-classifier, dataset: builtin://digits}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.domain.errors import FieldError, InvalidSpec, nearest
from orchestrator.domain.faults import field_errors
from orchestrator.domain.quantities import parse_duration
from orchestrator.domain.spec import KINDS, JobSpec

API_VERSION = "neutrino/v1"
_TOP = ("apiVersion", "kind", "metadata", "spec")
_METADATA = ("name", "labels")
MAX_DEPTH = 32
MAX_NODES = 20_000
_INT64 = 2**63


def _leaf_fault(value: object) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return "does not fit in 64 bits"
    if isinstance(value, str) and "\x00" in value:
        return "contains a NUL character"
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        return "contains half of a surrogate pair, which is no character"
    return None


def _walk(value: object, path: str, depth: int) -> Iterator[tuple[str, object, int]]:
    yield path, value, depth
    if depth > MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield f"{path}[key]", key, depth + 1
            yield from _walk(child, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _walk(child, f"{path}[{index}]", depth + 1)


def _plain_faults(document: Mapping[Any, Any]) -> list[FieldError]:
    """What no document may hold, because the database or JSON could not give it back."""
    for count, (path, value, depth) in enumerate(_walk(document, "", 0)):
        if depth > MAX_DEPTH:
            return [FieldError(path[:200], f"is nested more than {MAX_DEPTH} levels deep")]
        if count > MAX_NODES:
            return [FieldError("", f"has more than {MAX_NODES} values")]
        if fault := _leaf_fault(value):
            return [FieldError(path.encode("utf-8", "replace").decode()[:200].replace("\x00", ""), fault)]
    return []


def _unknown(keys: Mapping[Any, Any], known: tuple[str, ...], prefix: str) -> list[FieldError]:
    faults = []
    for key in keys:
        if key not in known:
            guess = nearest(str(key), known)
            hint = f"Did you mean {guess!r}?" if guess else f"Known here: {', '.join(known)}."
            faults.append(FieldError(f"{prefix}{key}", "unknown field", hint))
    return faults


def _envelope_faults(document: Mapping[Any, Any]) -> list[FieldError]:
    faults = _unknown(document, _TOP, "")
    version, kind = document.get("apiVersion"), document.get("kind")
    if version != API_VERSION:
        faults.append(FieldError("apiVersion", f"is {version!r}", f"Write apiVersion: {API_VERSION}"))
    if not isinstance(kind, str) or kind not in KINDS:
        guess = nearest(str(kind), KINDS)
        known = f"Known kinds: {', '.join(KINDS)}."
        faults.append(FieldError("kind", f"is {kind!r}", f"Did you mean {guess!r}?" if guess else known))
    for key in ("metadata", "spec"):
        if not isinstance(document.get(key), Mapping):
            faults.append(FieldError(key, "must be a mapping"))
    if isinstance(metadata := document.get("metadata"), Mapping):
        faults += _unknown(metadata, _METADATA, "metadata.")
    if isinstance(spec := document.get("spec"), Mapping):
        faults += [FieldError(f"spec.{key}", f"belongs under metadata.{key}") for key in _METADATA if key in spec]
    return faults


def _document_path(path: str) -> str:
    """Where a field of the flat model stands in the document; faults found by validators are there already."""
    head = path.split(".", 1)[0].split("[", 1)[0]
    return f"metadata.{path}" if head in _METADATA else f"spec.{path}" if path else "spec"


def parse(document: object) -> JobSpec:
    """The spec that a document describes. Raises InvalidSpec listing every fault with its path and a hint."""
    if not isinstance(document, Mapping):
        raise InvalidSpec.of([FieldError("", "must be a mapping with apiVersion, kind, metadata and spec")])
    if faults := _plain_faults(document) or _envelope_faults(document):
        raise InvalidSpec.of(faults)
    model = KINDS[document["kind"]]
    try:
        return model.model_validate({**document["spec"], **document["metadata"]})
    except ValidationError as error:
        raise InvalidSpec.of(field_errors(error, model, _document_path)) from None


def timeout_of(document: Mapping[str, Any]) -> float:
    """The timeout in seconds of a document that has been accepted, without parsing all of it again."""
    return parse_duration(document["spec"].get("timeout", JobSpec.model_fields["timeout"].default))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of all job documents, generated from the models."""
    variants, definitions = [], {}
    for kind, model in KINDS.items():
        schema = model.model_json_schema(by_alias=True)
        definitions.update(schema.pop("$defs", {}))
        properties = schema["properties"]
        metadata = {key: properties.pop(key) for key in _METADATA}
        required = [name for name in schema.get("required", ()) if name not in _METADATA]
        variants.append(
            {
                "type": "object",
                "title": kind,
                "description": schema.get("description", ""),
                "additionalProperties": False,
                "required": ["apiVersion", "kind", "metadata", "spec"],
                "properties": {
                    "apiVersion": {"const": API_VERSION},
                    "kind": {"const": kind},
                    "metadata": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name"],
                        "properties": metadata,
                    },
                    "spec": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": required,
                        "properties": properties,
                    },
                },
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://neutrino.dev/schemas/job.v1.json",
        "title": "Neutrino job",
        "oneOf": variants,
        "$defs": definitions,
    }
