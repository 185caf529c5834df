"""Documents to start from, and what is wrong with those that are refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from orchestrator.domain.document import parse
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.spec import JobSpec

TRAIN: dict[str, Any] = {
    "apiVersion": "neutrino/v1",
    "kind": "Train",
    "metadata": {"name": "digits-cnn"},
    "spec": {"workload": "image-classifier", "dataset": "builtin://digits"},
}
COMMAND: dict[str, Any] = {
    "apiVersion": "neutrino/v1",
    "kind": "Command",
    "metadata": {"name": "hello"},
    "spec": {"command": ["true"]},
}


def document_with(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    *parents, last = path.split("/")
    target = changed
    for part in parents:
        target = target.setdefault(part, {})
    target[last] = value
    return changed


def faults_of(document: object) -> list[FieldError]:
    with pytest.raises(InvalidSpec) as caught:
        parse(document)
    json.dumps(caught.value.to_problem()).encode("utf-8")  # every answer can be written
    return caught.value.errors


def outcome_of(document: object) -> JobSpec | list[FieldError]:
    """The spec, or what is wrong; any other exception goes through."""
    try:
        return parse(document)
    except InvalidSpec as error:
        return error.errors


def fault_of(document: object) -> FieldError:
    (fault,) = faults_of(document)
    return fault
