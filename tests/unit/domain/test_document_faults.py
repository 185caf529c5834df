"""Job documents: every fault has a path, a reason and, where there is one, a way out."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from orchestrator.domain.document import MAX_DEPTH
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.spec import Train
from tests.unit.domain.documents import COMMAND, TRAIN, document_with, fault_of, faults_of


@pytest.mark.parametrize("document", [None, [], "kind: Train", 1])
def test_a_document_is_a_mapping(document: object) -> None:
    assert fault_of(document) == FieldError("", "must be a mapping with apiVersion, kind, metadata and spec")


REFUSED: list[tuple[str, dict[str, Any], str, str, str | None]] = [
    # the envelope
    ("unknown key at the top", document_with(TRAIN, "sepc", {}), "sepc", "unknown field", "Did you mean 'spec'?"),
    (
        "unknown metadata",
        document_with(TRAIN, "metadata/label", {}),
        "metadata.label",
        "unknown field",
        "Did you mean 'labels'?",
    ),
    (
        "a key like no other",
        document_with(TRAIN, "metadata/zzz", 1),
        "metadata.zzz",
        "unknown field",
        "Known here: name, labels.",
    ),
    ("old version", document_with(TRAIN, "apiVersion", "v1"), "apiVersion", "is 'v1'", "Write apiVersion: neutrino/v1"),
    ("unknown kind", document_with(TRAIN, "kind", "Trian"), "kind", "is 'Trian'", "Did you mean 'Train'?"),
    ("strange kind", document_with(TRAIN, "kind", "Pod"), "kind", "is 'Pod'", "Known kinds: Train, Command."),
    ("kind of a wrong type", document_with(TRAIN, "kind", ["Train"]), "kind", "is ['Train']", "Did you mean 'Train'?"),
    ("spec of a wrong type", document_with(TRAIN, "spec", []), "spec", "must be a mapping", None),
    (
        "name in the wrong place",
        document_with(TRAIN, "spec/name", "x"),
        "spec.name",
        "belongs under metadata.name",
        None,
    ),
    # unknown fields and the nearest key
    (
        "unknown field of the spec",
        document_with(TRAIN, "spec/workloads", "x"),
        "spec.workloads",
        "unknown field",
        "Did you mean 'workload'?",
    ),
    (
        "unknown nested field",
        document_with(TRAIN, "spec/resources/gpus", "T4"),
        "spec.resources.gpus",
        "unknown field",
        "Did you mean 'gpu'?",
    ),
    (
        "camel case matters",
        document_with(TRAIN, "spec/placement/maxCostUSD", 1),
        "spec.placement.maxCostUSD",
        "unknown field",
        "Did you mean 'maxCostUsd'?",
    ),
    # names
    *(
        (
            f"name {name!r}",
            document_with(TRAIN, "metadata/name", name),
            "metadata.name",
            f"{name[:80]!r} is not allowed here",
            "Use 1 to 63 of a-z, 0-9 and '-', with a letter or digit at both ends.",
        )
        for name in ("", "Digits", "a_b", "-a", "a-", "a b", "a\n", "ä", "a" * 64, "../a")
    ),
    ("name missing", document_with(TRAIN, "metadata", {}), "metadata.name", "field required", None),
    # workloads, parameters, datasets
    (
        "unknown workload",
        document_with(TRAIN, "spec/workload", "image-clasifier"),
        "spec.workload",
        "there is no workload 'image-clasifier'.",
        "Did you mean 'image-classifier'?",
    ),
    (
        "unknown dataset",
        document_with(TRAIN, "spec/dataset", "builtin://digit"),
        "spec.dataset",
        "image-classifier does not take the dataset 'builtin://digit'.",
        "Did you mean 'builtin://digits'?",
    ),
    (
        "no dataset",
        document_with(TRAIN, "spec/dataset", None),
        "spec.dataset",
        "image-classifier needs a dataset.",
        "Name one of: builtin://digits.",
    ),
    (
        "unknown parameter",
        document_with(TRAIN, "spec/params/epoch", 3),
        "spec.params.epoch",
        "unknown parameter 'epoch'.",
        "Did you mean 'epochs'?",
    ),
    (
        "parameter out of range",
        document_with(TRAIN, "spec/params/epochs", 0),
        "spec.params.epochs",
        "Input should be greater than or equal to 1.",
        "It is the largest number of passes over the training images.",
    ),
    (
        "parameter of a wrong type",
        document_with(TRAIN, "spec/params/epochs", True),
        "spec.params.epochs",
        "a number is needed, not true or false.",
        "It is the largest number of passes over the training images.",
    ),
    # choices
    (
        "unknown cloud",
        document_with(TRAIN, "spec/placement/clouds", ["gcloud"]),
        "spec.placement.clouds[0]",
        "'gcloud' is not one of 'aws', 'gcp', 'azure' or 'local'",
        None,
    ),
    (
        "mistyped cloud",
        document_with(TRAIN, "spec/placement/clouds", ["aws", "azur"]),
        "spec.placement.clouds[1]",
        "'azur' is not one of 'aws', 'gcp', 'azure' or 'local'",
        "Did you mean 'azure'?",
    ),
    (
        "unknown kind of retry",
        document_with(TRAIN, "spec/retry/on", ["infrastructure"]),
        "spec.retry.on[0]",
        "'infrastructure' is not one of 'error', 'infra' or 'preempted'",
        None,
    ),
    # ranges and types
    (
        "retries out of range",
        document_with(TRAIN, "spec/retry/max", 101),
        "spec.retry.max",
        "input should be less than or equal to 100",
        None,
    ),
    (
        "no money",
        document_with(TRAIN, "spec/placement/maxCostUsd", 0),
        "spec.placement.maxCostUsd",
        "input should be greater than 0",
        None,
    ),
    (
        "half a node",
        document_with(TRAIN, "spec/resources/nodes", 1.5),
        "spec.resources.nodes",
        "input should be a valid integer, got a number with a fractional part",
        None,
    ),
    (
        "too little memory",
        document_with(TRAIN, "spec/resources/memory", "1Ki"),
        "spec.resources.memory",
        "input should be greater than or equal to 16777216",
        None,
    ),
    (
        "memory without sense",
        document_with(TRAIN, "spec/resources/memory", "much"),
        "spec.resources.memory",
        "not an amount of memory; write 512Mi, 8Gi or 1.5G",
        None,
    ),
    (
        "more memory than numbers hold",
        document_with(TRAIN, "spec/resources/memory", "9" * 400 + "Gi"),
        "spec.resources.memory",
        "not an amount of memory; write 512Mi, 8Gi or 1.5G",
        None,
    ),
    (
        "gpu without sense",
        document_with(TRAIN, "spec/resources/gpu", "T4:none"),
        "spec.resources.gpu",
        "not a GPU request; write T4, A100:8 or H100:1",
        None,
    ),
    ("no time", document_with(TRAIN, "spec/timeout", 0), "spec.timeout", "input should be greater than 0", None),
    (
        "more than a month",
        document_with(TRAIN, "spec/timeout", "31d"),
        "spec.timeout",
        "input should be less than or equal to 2592000",
        None,
    ),
    (
        "time without sense",
        document_with(TRAIN, "spec/timeout", "soon"),
        "spec.timeout",
        "not a duration; write 90s, 15m, 1h30m or 2d",
        None,
    ),
    (
        "label that is a number",
        document_with(TRAIN, "metadata/labels", {"team": 1}),
        "metadata.labels.team",
        "input should be a valid string",
        None,
    ),
    (
        "label key",
        document_with(TRAIN, "metadata/labels", {"team ": "a"}),
        "metadata.labels.team ",
        "'team ' is not allowed here",
        "It must match ^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$",
    ),
    (
        "too many labels",
        document_with(TRAIN, "metadata/labels", {f"k{n}": "" for n in range(33)}),
        "metadata.labels",
        "dictionary should have at most 32 items after validation, not more",
        None,
    ),
    # environment
    *(
        (
            f"reserved {name}",
            document_with(COMMAND, f"spec/env/{name}", "x"),
            f"spec.env.{name}",
            "reserved: Neutrino sets it itself",
            None,
        )
        for name in ("NEUTRINO_TOKEN", "LD_PRELOAD", "LD_AUDIT", "RANK", "WORLD_SIZE", "MASTER_ADDR")
    ),
    *(
        (
            f"env {name!r}",
            document_with(COMMAND, "spec/env", {name: "x"}),
            f"spec.env.{name}" if name else "spec.env.",
            "not a name of an environment variable",
            None,
        )
        for name in ("A=B", "1A", "A B", "A" * 129)
    ),
    (
        "env that is a number",
        document_with(COMMAND, "spec/env/N", 1),
        "spec.env.N",
        "input should be a valid string",
        None,
    ),
    # commands
    (
        "empty argv",
        document_with(COMMAND, "spec/command", []),
        "spec.command",
        "tuple should have at least 1 item after validation, not 0",
        None,
    ),
    (
        "empty program",
        document_with(COMMAND, "spec/command", [" "]),
        "spec.command",
        "the first word, the program, is empty",
        None,
    ),
    (
        "argv as text",
        document_with(COMMAND, "spec/command", "true"),
        "spec.command",
        "input should be a valid tuple",
        None,
    ),
    (
        "two programs",
        document_with(COMMAND, "spec/entrypoint", "a:b"),
        "spec",
        "give either command or entrypoint, one of them",
        None,
    ),
    ("no program", document_with(COMMAND, "spec", {}), "spec", "give either command or entrypoint, one of them", None),
    (
        "entrypoint",
        document_with(COMMAND, "spec", {"entrypoint": "a.b"}),
        "spec.entrypoint",
        "'a.b' is not allowed here",
        "Write it as package.module:function.",
    ),
    # what neither JSON nor the database can give back
    ("NaN", document_with(TRAIN, "spec/params/lr", math.nan), "spec.params.lr", "is not a finite number", None),
    ("infinity", document_with(TRAIN, "spec/params/lr", -math.inf), "spec.params.lr", "is not a finite number", None),
    ("NUL", document_with(COMMAND, "spec/command", ["a\x00b"]), "spec.command[0]", "contains a NUL character", None),
    (
        "NUL in a key",
        document_with(COMMAND, "spec/params", {"a\x00b": 1}),
        "spec.params[key]",
        "contains a NUL character",
        None,
    ),
    (
        "half a pair",
        document_with(COMMAND, "spec/command", ["\ud800"]),
        "spec.command[0]",
        "contains half of a surrogate pair, which is no character",
        None,
    ),
    (
        "half a pair in a key",
        document_with(COMMAND, "spec/params", {"\udfff": 1}),
        "spec.params[key]",
        "contains half of a surrogate pair, which is no character",
        None,
    ),
    ("huge number", document_with(COMMAND, "spec/params/n", 2**63), "spec.params.n", "does not fit in 64 bits", None),
    (
        "hugely negative",
        document_with(COMMAND, "spec/params/n", -(10**5000)),
        "spec.params.n",
        "does not fit in 64 bits",
        None,
    ),
]


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


def test_python_objects_are_refused_in_the_same_words() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Train(name="a", workload="image-clasifier", dataset="builtin://digits")
    assert caught.value.errors[0].hint == "Did you mean 'image-classifier'?"
