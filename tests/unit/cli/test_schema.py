"""The committed schema is the one that the models have, and it agrees with them about real documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest

from orchestrator.domain.document import json_schema
from orchestrator.domain.spec import Command, Resources, Retry, Train

COMMITTED = Path(__file__).parents[3] / "schemas" / "job.v1.json"


def test_the_committed_schema_is_up_to_date() -> None:
    assert json.loads(COMMITTED.read_text()) == json_schema(), "run `neutrino schema > schemas/job.v1.json`"


@pytest.mark.parametrize(
    "spec",
    [
        Train(name="a", workload="image-classifier", dataset="builtin://digits", timeout="1h"),
        Command(
            name="b",
            command=("true",),
            resources=Resources.model_validate({"gpu": "T4:1", "memory": "8Gi"}),
            retry=Retry(max=1),
        ),
    ],
)
def test_documents_of_specs_fit_it(spec: Train | Command) -> None:
    jsonschema.validate(spec.document(), json_schema())


def test_it_refuses_what_the_models_refuse() -> None:
    document: dict[str, Any] = Command(name="b", command=("true",)).document()
    document["spec"]["gpu"] = "T4"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schema())
