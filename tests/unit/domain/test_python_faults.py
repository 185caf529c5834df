"""Specs made in Python: their faults have the paths and the words of the document."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.model import Model
from orchestrator.domain.spec import Resources, Train

FLAT: list[tuple[dict[str, Any], str]] = [
    ({"timeout": "soon"}, "spec.timeout"),
    ({"name": "Bad Name"}, "metadata.name"),
    ({"labels": {"team": 1}}, "metadata.labels.team"),
    ({"max_cost_usd": -1}, "spec.placement.maxCostUsd"),
    ({"placement": {"clouds": ["moon"]}}, "spec.placement.clouds[0]"),
    ({"params": {"lr": {"float": [math.nan]}}}, "spec.params.lr.float[0]"),
    ({"params": {"lr": object()}}, "spec.params.lr"),
]


@pytest.mark.parametrize(("fields", "path"), FLAT, ids=[path for _, path in FLAT])
def test_a_fault_in_python_has_the_path_of_the_document(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Train(**{"name": "a", "workload": "image-clasifier", "dataset": "builtin://digits"} | fields)
    faults = {fault.path: fault for fault in caught.value.errors}
    assert set(faults) == {path, "spec.workload"}
    assert "nput should" not in str(faults[path])


def test_a_part_of_a_spec_knows_where_it_will_stand() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Resources(gpu="T4:0", memory="1Ki")
    assert [fault.path for fault in caught.value.errors] == ["spec.resources.gpu", "spec.resources.memory"]


class Replicas(Model):
    """Fields of several forms."""

    count: int | tuple[int, int] | None = None
    where: dict[str, list[int]] | str = ""
    inner: Resources | str = ""


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"count": "many"}, "count", "must be a whole number or a list, not 'many'"),
        ({"where": {"a": ["x"]}}, "where.a[0]", "must be a whole number, not 'x'"),
        ({"inner": {"gpus": 1}}, "inner.gpus", "unknown field"),
    ],
)
def test_a_value_of_several_forms_has_no_form_in_its_path(fields: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Replicas(**fields)
    assert (caught.value.errors[0].path, caught.value.errors[0].message) == (path, message)


def test_python_objects_are_refused_in_the_same_words() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Train(name="a", workload="image-clasifier", dataset="builtin://digits")
    assert caught.value.errors[0].hint == "Did you mean 'image-classifier'?"
