"""Job documents: what is accepted is kept, and stays what it is on every way."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.document import json_schema, parse
from orchestrator.domain.quantities import Gpu
from orchestrator.domain.spec import Command, JobSpec, Placement, Resources, Retry, SourceFile, Train
from tests.unit.domain.documents import COMMAND, TRAIN, document_with, fault_of, outcome_of


def test_the_shortest_documents_are_enough() -> None:
    assert parse(TRAIN) == Train(name="digits-cnn", workload="image-classifier", dataset="builtin://digits")
    assert parse(COMMAND) == Command(name="hello", command=("true",))


def test_a_full_document_is_read_field_by_field() -> None:
    document = copy.deepcopy(TRAIN)
    document["metadata"]["labels"] = {"team": "vision"}
    document["spec"] |= {
        "params": {"epochs": 8, "lr": "1e-3"},
        "resources": {"gpu": "t4:2", "cpu": 4, "memory": "8Gi"},
        "placement": {"clouds": ["aws", "gcp"], "spot": "prefer", "maxCostUsd": 2},
        "retry": {"max": 2, "on": ["preempted", "infra"]},
        "timeout": "12h",
        "env": {"HF_HOME": "/tmp"},
        "outputs": {"model": "digits-cnn"},
    }
    spec = parse(document)
    assert spec.resources == Resources(gpu=Gpu("T4", 2), cpu=4, memory=8 * 1024**3)
    assert spec.placement.max_cost_usd == 2
    assert spec.timeout == 12 * 3600
    assert parse(spec.document()) == spec


def test_max_cost_can_be_written_beside_the_placement_in_python() -> None:
    spec = Command(name="a", command=("true",), max_cost_usd=2)
    assert spec.placement == Placement(max_cost_usd=2)
    both = Command(name="a", command=("true",), max_cost_usd=2, placement=Placement(clouds=("aws",)))
    assert both.placement == Placement(clouds=("aws",), max_cost_usd=2)


@pytest.mark.parametrize("placement", [5, "aws", ["aws"], None, True])
def test_max_cost_beside_something_that_is_no_placement_is_a_fault_of_the_placement(placement: object) -> None:
    document = document_with(document_with(COMMAND, "spec/max_cost_usd", 2), "spec/placement", placement)
    assert fault_of(document).path == "spec.placement"


names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
plain_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=8,
)
commands = st.builds(
    Command,
    name=names,
    labels=st.dictionaries(names, plain_text, max_size=3),
    params=st.dictionaries(plain_text, json_values, max_size=3),
    env=st.dictionaries(
        st.from_regex(r"[A-Z]{1,8}", fullmatch=True).filter(lambda n: n != "RANK"), plain_text, max_size=3
    ),
    command=st.lists(plain_text, max_size=3).map(lambda rest: ("true", *rest)),
    files=st.lists(names, unique=True, max_size=3).map(
        lambda paths: tuple(SourceFile(path=path, sha256="0" * 64, size=1) for path in paths)
    ),
    timeout=st.floats(min_value=0, max_value=30 * 86400, exclude_min=True),
    resources=st.builds(
        Resources,
        gpu=st.none() | st.builds(Gpu, st.just("T4"), st.integers(1, 8)),
        cpu=st.floats(min_value=0, max_value=1024, exclude_min=True),
        memory=st.none() | st.integers(16 * 1024**2, 64 * 1024**4),
    ),
    retry=st.builds(Retry, max=st.integers(0, 100)),
)


@given(commands)
def test_every_spec_is_its_document_and_the_other_way_round(spec: Command) -> None:
    through_the_wire = json.loads(json.dumps(spec.document()))
    again = parse(through_the_wire)
    assert again == spec
    assert again.digest() == spec.digest()


# --- the digest ---


def test_the_digest_is_the_same_today_and_tomorrow() -> None:
    """Stored beside every job: a change of this value breaks the comparison with older jobs."""
    assert parse(TRAIN).digest() == "a9a95d1d7af3bbab25bda716a70abfa5732dab2b7d5d2ae3f8420df76f7c77a5"


def test_the_digest_depends_neither_on_the_order_of_keys_nor_on_defaults_nor_on_spelling() -> None:
    spelled_out = {
        "spec": {
            "timeout": "24h",
            "resources": {"nodes": 1},
            "dataset": "builtin://digits",
            "workload": "image-classifier",
        },
        "metadata": {"labels": {}, "name": "digits-cnn"},
        "kind": "Train",
        "apiVersion": "neutrino/v1",
    }
    assert parse(spelled_out).digest() == parse(TRAIN).digest()


def test_the_digest_tells_two_requests_apart() -> None:
    assert parse(document_with(TRAIN, "spec/params/epochs", 3)).digest() != parse(TRAIN).digest()


@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "metadata", "spec", "x"]), json_values))
def test_no_document_brings_anything_but_a_spec_or_its_faults(document: dict[str, Any]) -> None:
    assert isinstance(outcome_of(document), JobSpec | list)


@given(json_values)
def test_no_spec_brings_anything_but_a_spec_or_its_faults(value: object) -> None:
    for field in ("resources", "placement", "retry", "timeout", "env", "command", "files", "outputs", "params"):
        assert isinstance(outcome_of(document_with(COMMAND, f"spec/{field}", value)), JobSpec | list)


def test_the_json_schema_knows_every_kind_and_its_fields() -> None:
    schema = json_schema()
    assert [one["title"] for one in schema["oneOf"]] == ["Train", "Command"]
    for one in schema["oneOf"]:
        assert one["additionalProperties"] is False
        assert one["properties"]["spec"]["additionalProperties"] is False
        assert "name" not in one["properties"]["spec"]["properties"]
    json.dumps(schema)
