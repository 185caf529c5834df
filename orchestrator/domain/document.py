"""Job documents: the nested form of a spec that YAML files and the API speak.

apiVersion: neutrino/v1
kind: Train
metadata: {name: digits-cnn, labels: {team: vision}}
spec: {workload: image-classifier, dataset: builtin://digits}
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.domain.errors import FieldError, InvalidSpec, nearest
from orchestrator.domain.faults import beyond, field_errors
from orchestrator.domain.quantities import parse_duration
from orchestrator.domain.spec import API_VERSION, KINDS, METADATA, JobSpec

_TOP = ("apiVersion", "kind", "metadata", "spec")
MAX_DEPTH = 32
MAX_NODES = 20_000
_MAX_FAULTS = 20
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


def _plain_faults(document: Mapping[Any, Any]) -> tuple[list[FieldError], bool]:
    """What no document may hold, because the database or JSON could not give it back; and whether it is too large or
    too deep to be looked at any further."""
    faults: list[FieldError] = []
    for count, (path, value, depth) in enumerate(_walk(document, "", 0)):
        if depth > MAX_DEPTH:
            return [FieldError(path[:200], f"is nested more than {MAX_DEPTH} levels deep", "Flatten it.")], True
        if count > MAX_NODES:
            hint = "Put large data into a file or a dataset."
            return [FieldError("", f"has more than {MAX_NODES} values", hint)], True
        if (fault := _leaf_fault(value)) and len(faults) < _MAX_FAULTS:
            faults.append(FieldError(path[:200].replace("\x00", ""), fault))
    return faults, False


def _unknown(keys: Mapping[Any, Any], known: tuple[str, ...], prefix: str) -> list[FieldError]:
    faults = []
    for key in keys:
        if key not in known:
            guess = nearest(str(key), known)
            hint = f"Did you mean {guess!r}?" if guess else f"Known here: {', '.join(known)}."
            faults.append(FieldError(f"{prefix}{key}", "unknown field", hint))
    return faults


def _stated(document: Mapping[Any, Any], key: str, known: Collection[str], hint: str) -> list[FieldError]:
    """The faults of a key that must have one of a few values."""
    value = document.get(key)
    if isinstance(value, str) and value in known:
        return []
    guess = nearest(str(value), known)
    message = f"is {value!r}"[:200] if key in document else "is required"
    return [FieldError(key, message, f"Did you mean {guess!r}?" if guess and len(known) > 1 else hint)]


def _envelope_faults(document: Mapping[Any, Any]) -> list[FieldError]:
    faults = _unknown(document, _TOP, "")
    faults += _stated(document, "apiVersion", (API_VERSION,), f"Write apiVersion: {API_VERSION}")
    faults += _stated(document, "kind", KINDS, f"Known kinds: {', '.join(KINDS)}.")
    for key in ("metadata", "spec"):
        if not isinstance(document.get(key), Mapping):
            message = "must be a mapping" if key in document else "is required"
            faults.append(FieldError(key, message, f"Write {key}: {{…}}."))
    if isinstance(metadata := document.get("metadata"), Mapping):
        faults += _unknown(metadata, METADATA, "metadata.")
    if isinstance(spec := document.get("spec"), Mapping):
        faults += [
            FieldError(f"spec.{key}", f"belongs under metadata.{key}", f"Move it to metadata.{key}.")
            for key in METADATA
            if key in spec
        ]
    return faults


def _field_faults(document: Mapping[Any, Any]) -> list[FieldError]:
    """What is wrong with the fields of a document whose envelope is wrong too: as the kind that was probably meant,
    or, if that cannot be told, with what all kinds have."""
    kind = document.get("kind")
    meant = kind if isinstance(kind, str) and kind in KINDS else nearest(str(kind), KINDS)
    parts = {key: part if isinstance(part := document.get(key), Mapping) else {} for key in ("spec", "metadata")}
    fields = {str(key): value for key, value in parts["spec"].items() if key not in METADATA}
    fields |= {key: parts["metadata"][key] for key in METADATA if key in parts["metadata"]}
    if meant is None:
        common = {field.alias or name for name, field in JobSpec.model_fields.items()}
        fields = {key: value for key, value in fields.items() if key in common}
    try:
        KINDS.get(meant or "", JobSpec).model_validate(fields)
    except ValidationError as error:
        model = KINDS.get(meant or "", JobSpec)
        return field_errors(error.errors(include_url=False), model, model.document_path)
    return []


def parse(document: object) -> JobSpec:
    """The spec that a document describes. Raises InvalidSpec listing every fault with its path and a hint."""
    if not isinstance(document, Mapping):
        hint = "See /schemas/job.v1.json, or `neutrino schema`."
        raise InvalidSpec.of([FieldError("", "must be a mapping with apiVersion, kind, metadata and spec", hint)])
    faults, beyond_reading = _plain_faults(document)
    if not beyond_reading:
        faults += beyond(_envelope_faults(document), faults)
    if faults:
        raise InvalidSpec.of(faults if beyond_reading else faults + beyond(_field_faults(document), faults))
    model = KINDS[document["kind"]]
    try:
        return model.model_validate({**document["spec"], **document["metadata"]})
    except ValidationError as error:
        faults = field_errors(error.errors(include_url=False), model, model.document_path)
        raise InvalidSpec.of(faults) from None


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
        metadata = {key: properties.pop(key) for key in METADATA}
        required = [name for name in schema.get("required", ()) if name not in METADATA]
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
