"""Job documents: every fault has a path, a reason and, where there is one, a way out."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from orchestrator.domain.document import MAX_DEPTH
from orchestrator.domain.errors import FieldError
from tests.unit.domain.documents import COMMAND, document_with, fault_of, faults_of
from tests.unit.domain.refused import REFUSED


@pytest.mark.parametrize("document", [None, [], "kind: Train", 1])
def test_a_document_is_a_mapping(document: object) -> None:
    message = "must be a mapping with apiVersion, kind, metadata and spec"
    assert fault_of(document) == FieldError("", message, "See /schemas/job.v1.json, or `neutrino schema`.")


@pytest.mark.parametrize(
    ("document", "path", "message", "hint"), [row[1:] for row in REFUSED], ids=[row[0][:40] for row in REFUSED]
)
def test_is_refused_with_path_reason_and_hint(
    document: dict[str, Any], path: str, message: str, hint: str | None
) -> None:
    assert fault_of(document) == FieldError(path, message, hint)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("../up", "path"),
        ("/etc/passwd", "path"),
        ("a\\b", "path"),
        ("a/./b", "path"),
        ("", "path"),
    ],
)
def test_files_stay_in_their_folder(path: str, field: str) -> None:
    file = {"path": path, "sha256": "0" * 64, "size": 1}
    fault = fault_of(document_with(COMMAND, "spec/files", [file]))
    assert fault.path == f"spec.files[0].{field}"
    assert "not a plain relative path" in fault.message


def test_two_files_cannot_have_the_same_path() -> None:
    file = {"path": "a.py", "sha256": "0" * 64, "size": 1}
    assert fault_of(document_with(COMMAND, "spec/files", [file, file])).message == "two files have the same path"


def test_a_document_is_not_deeper_than_anybody_needs() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    fault = fault_of(document_with(COMMAND, "spec/params/deep", deep))
    assert fault.message == "is nested more than 32 levels deep"
    assert fault.path.startswith("spec.params.deep[0][0]")


def test_a_document_is_not_larger_than_anybody_needs() -> None:
    assert "has more than" in fault_of(document_with(COMMAND, "spec/params/many", [0] * 20_001)).message


def test_every_fault_is_reported_and_not_only_the_first() -> None:
    document = copy.deepcopy(COMMAND)
    document["metadata"]["name"] = "Bad Name"
    document["spec"] |= {"timeout": "soon", "resources": {"gpus": 1}, "env": {"RANK": "0"}}
    assert {fault.path for fault in faults_of(document)} == {
        "metadata.name",
        "spec.timeout",
        "spec.resources.gpus",
        "spec.env.RANK",
    }


def test_a_fault_of_the_envelope_hides_no_other() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Tran",
        "metadata": {"name": "Bad Name", "label": {}},
        "spec": {
            "workload": "image-classifier",
            "dataset": "builtin://digit",
            "params": {"epochs": 0, "seeds": 1, "lr": math.nan},
            "timeout": "soon",
            "name": "x",
        },
    }
    assert {fault.path for fault in faults_of(document)} == {
        "apiVersion",
        "kind",
        "metadata.name",
        "metadata.label",
        "spec.name",
        "spec.dataset",
        "spec.params.epochs",
        "spec.params.seeds",
        "spec.params.lr",
        "spec.timeout",
    }


def test_a_kind_like_no_other_still_has_what_all_have_in_common() -> None:
    document = {"apiVersion": "neutrino/v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"timeout": 0, "x": 1}}
    assert [fault.path for fault in faults_of(document)] == ["kind", "spec.timeout"]


def test_what_is_missing_altogether_is_one_fault() -> None:
    assert [fault.path for fault in faults_of({"apiVersion": "neutrino/v1", "kind": "Train"})] == ["metadata", "spec"]
