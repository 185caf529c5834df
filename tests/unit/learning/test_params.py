"""What the control plane refuses before anything is stored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import FieldError
from orchestrator.domain.workloads import DIGITS, WORKLOADS, ImageClassifierParams, check_workload


def _faults(params: dict[str, Any]) -> list[FieldError]:
    return check_workload("image-classifier", params, DIGITS)


def test_every_registered_workload_accepts_its_defaults() -> None:
    for name, info in WORKLOADS.items():
        assert info.name == name
        for dataset in info.datasets:
            assert check_workload(name, {}, dataset) == []


def test_a_mistyped_workload_gets_the_nearest_name() -> None:
    (fault,) = check_workload("image-clasifier", {}, DIGITS)
    assert fault.path == "spec.workload"
    assert fault.hint == "Did you mean 'image-classifier'?"


def test_an_unrelated_workload_gets_the_list() -> None:
    (fault,) = check_workload("zzz", {}, DIGITS)
    assert fault.hint == "Workloads: image-classifier."


@pytest.mark.parametrize(
    ("dataset", "hint"),
    [(None, "Name one of: builtin://digits."), ("builtin://digit", "Did you mean 'builtin://digits'?")],
)
def test_a_dataset_that_is_missing_or_mistyped(dataset: str | None, hint: str) -> None:
    (fault,) = check_workload("image-classifier", {}, dataset)
    assert fault.path == "spec.dataset"
    assert fault.hint == hint


def test_every_fault_is_reported_at_once() -> None:
    faults = check_workload("image-classifier", {"epochs": 0, "lrr": 1, "batch_size": "many"}, None)
    assert {fault.path for fault in faults} == {
        "spec.dataset",
        "spec.params.epochs",
        "spec.params.lrr",
        "spec.params.batch_size",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", True),
        ("epochs", None),
        ("lr", 0),
        ("lr", -1e-3),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("lr", "fast"),
        ("lr", [1e-3]),
        ("batch_size", 0),
        ("patience", 0),
        ("weight_decay", -0.1),
        ("label_smoothing", 1),
        ("augment", -1),
        ("seed", -1),
        ("seed", 2**32),
        ("split_seed", False),
    ],
)
def test_a_bad_value_is_refused_at_its_path(name: str, value: Any) -> None:
    (fault,) = _faults({name: value})
    assert fault.path == f"spec.params.{name}"
    assert fault.hint


def test_an_unknown_parameter_gets_the_nearest_name() -> None:
    (fault,) = _faults({"batchSize": 32})
    assert fault.path == "spec.params.batchSize"
    assert fault.hint == "Did you mean 'batch_size'?"


def test_a_very_long_name_does_not_fill_the_message() -> None:
    (fault,) = _faults({"x" * 10_000: 1})
    assert len(fault.message) < 100


def test_yaml_numbers_that_are_read_as_text_are_numbers() -> None:
    assert ImageClassifierParams.model_validate({"lr": "1e-3", "epochs": "8"}).lr == 0.001


def test_nothing_of_torch_is_loaded_to_refuse_a_job() -> None:
    program = """
import sys
from types import SimpleNamespace
from orchestrator.domain.errors import InvalidSpec
from workers.workloads.image_classifier import run
try:
    run(SimpleNamespace(params={"lr": 7}, dataset="builtin://digits"))
except InvalidSpec as error:
    print([fault.path for fault in error.errors], "torch" in sys.modules, "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['spec.params.lr'] False False\n"


def test_the_guide_lists_every_parameter_with_its_default() -> None:
    guide = (Path(__file__).parents[3] / "docs/how-to/train-a-classifier.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in guide.splitlines() if line.startswith("| `")]
    listed = {row[1].strip("`"): row[2] for row in rows}
    for name, field in ImageClassifierParams.model_fields.items():
        assert float(listed[name]) == field.default
