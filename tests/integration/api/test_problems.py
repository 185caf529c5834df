"""Errors keep the form that the OpenAPI document promises, and a request says one thing in one way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.spec import KINDS
from orchestrator.domain.state import JobState
from tests.integration.api.client import DOCUMENT, WORKER, Api

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
JSON = {"Content-Type": "application/json"}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_documents_its_errors_in_one_form(api: Api) -> None:
    document = api("GET", "/openapi.json").json()
    jsonschema.Draft202012Validator.check_schema(document["components"]["schemas"]["Problem"])
    assert "HTTPValidationError" not in json.dumps(document)
    open_to_all = set()
    for name, operation in _operations(document):
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert errors.keys() >= {"422", "500"}, name
        assert all(answer["content"] == PROBLEM and answer["description"] for answer in errors.values()), name
        if not operation.get("security"):
            open_to_all.add(name)
            continue
        assert errors.keys() >= {"401", "403", "503"}, name
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            assert errors.keys() >= {"404", "409", "413", "415"}, name
        if "{" in name:
            assert "404" in errors, name
    assert open_to_all == {"GET /healthz", "GET /readyz", "GET /schemas/job.v1.json"}


def test_what_comes_back_is_what_is_documented(api: Api) -> None:
    document = api("GET", "/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    problem = jsonschema.Draft202012Validator(schema)
    done = api.submit(headers={"Idempotency-Key": "k"})
    api("POST", f"/v1/jobs/{done}/cancel")
    other = DOCUMENT | {"metadata": {"name": "x"}}
    faults: list[tuple[int, str, str, dict[str, Any]]] = [
        (401, "GET", "/v1/jobs", {"role": None}),
        (401, "GET", "/v1/whoami", {"role": "nonsense"}),
        (403, "POST", "/v1/jobs", {"role": "viewer", "json": DOCUMENT}),
        (403, "POST", "/v1/worker/register", {"role": "viewer", "json": WORKER}),
        (404, "GET", "/v1/jobs/j-zzzz", {}),
        (404, "GET", "/v1/artifacts?job=j-zzzz", {}),
        (404, "POST", "/v1/worker/claim", {"role": "worker", "json": {"worker": "w-zzzz", "slots": 1}}),
        (409, "POST", "/v1/jobs", {"json": other, "headers": {"Idempotency-Key": "k"}}),
        (409, "POST", "/v1/pools", {"json": {"name": "local", "store": "file:///s"}}),
        (413, "POST", "/v1/jobs", {"content": b" " * (17 << 20), "headers": JSON}),
        (413, "PUT", f"/v1/files/{'0' * 64}", {"content": b" " * (17 << 20)}),
        (415, "POST", "/v1/jobs", {"content": json.dumps(DOCUMENT), "headers": {"Content-Type": "text/plain"}}),
        (422, "POST", "/v1/jobs", {"json": {}}),
        (422, "GET", "/v1/jobs?limit=x", {}),
        (422, "PUT", f"/v1/files/{'0' * 64}", {"content": b"other"}),
        (422, "GET", "/healthz?x=1", {"role": None}),
    ]
    for status, method, url, options in faults:
        answer = api(method, url, **options)
        path = url.partition("?")[0].replace("j-zzzz", "{job_id}").replace("0" * 64, "{sha256}")
        documented = document["paths"][path][method.lower()]["responses"]
        assert answer.status_code == status, (method, url, answer.text)
        assert answer.headers["content-type"] in documented[str(status)]["content"], (method, url)
        problem.validate(answer.json())


def _faults(answer: httpx.Response) -> dict[str, tuple[str, str | None]]:
    assert answer.status_code == 422, answer.text
    return {one["path"]: (one["message"], one.get("hint")) for one in answer.json()["errors"]}


def test_a_key_that_stands_twice_is_refused_where_it_stands(api: Api) -> None:
    twice = ("stands here twice", "Keep one of them.")
    spec = '{"command": ["true"], "env": {"A": "1", "A": "2"}, "timeout": 1, "timeout": 2}'
    body = f'{{"apiVersion": "neutrino/v1", "kind": "Command", "metadata": {{"name": "a"}}, "spec": {spec}}}'
    assert _faults(api("POST", "/v1/jobs", content=body, headers=JSON)) == {"spec.env.A": twice, "spec.timeout": twice}
    batch = f'{{"jobs": [{json.dumps(DOCUMENT)}, {body}]}}'
    answer = api("POST", "/v1/jobs/batch", content=batch, headers=JSON)
    assert _faults(answer) == {"jobs[1].spec.env.A": twice, "jobs[1].spec.timeout": twice}
    assert api("GET", "/v1/jobs").json()["items"] == []


def test_a_parameter_that_no_route_has_is_not_passed_over(api: Api) -> None:
    assert _faults(api("GET", "/v1/jobs?limt=5&state=QUEUED")) == {
        "query.limt": ("unknown parameter", "Did you mean 'limit'?")
    }
    assert _faults(api("POST", "/v1/jobs?dryRun=true", json=DOCUMENT)) == {
        "query.dryRun": ("unknown parameter", "This route has none.")
    }
    assert api("GET", "/v1/jobs").json()["items"] == []


def test_faults_of_the_request_itself_are_in_our_words(api: Api) -> None:
    job = api.submit()
    states = ", ".join(f"'{state}'" for state in JobState)
    assert _faults(api("GET", "/v1/jobs?limit=many&since=yesterday&state=PAUSED")) == {
        "query.limit": ("must be a whole number, not 'many'", "Write a plain number, such as 4."),
        "query.since": ("must be a time, not 'yesterday'", "Write it like 2026-01-31T12:00:00Z."),
        "query.state[0]": (
            f"'PAUSED' is not one of {states[:-13]} or 'CANCELLED'",
            None,
        ),
    }
    assert _faults(api("GET", f"/v1/jobs/{job}/logs?tail=0")) == {"query.tail": ("must be at least 1, not 0", None)}
    pool = {"name": "a", "stor": "file:///s", "cloud": "asw"}
    assert _faults(api("POST", "/v1/pools", json=pool)) == {
        "store": ("is required", "Add `store`."),
        "stor": ("unknown field", "Did you mean 'store'?"),
        "cloud": ("'asw' is not one of 'aws', 'gcp', 'azure' or 'local'", "Did you mean 'aws'?"),
    }
    assert _faults(api("POST", "/v1/jobs", content=b'{"kind":\n  x}', headers=JSON)) == {
        "": ("is not JSON: expecting value", "Send one JSON document.")
    }
    empty = api("POST", "/v1/jobs", json=DOCUMENT, headers={"Idempotency-Key": " "})
    assert list(_faults(empty)) == ["header.idempotency-key"]


def test_another_kind_of_content_is_told_what_to_send(api: Api) -> None:
    for kind in ("text/plain", "application/x-yaml", None):
        headers = {} if kind is None else {"Content-Type": kind}
        answer = api("POST", "/v1/jobs", content=json.dumps(DOCUMENT), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media"), kind
        assert answer.json()["hint"] == "Send JSON with `Content-Type: application/json`."


# --- any document at all ---

_TEXT = st.text(st.characters(exclude_categories=()), max_size=5)
_WORDS = st.sampled_from(["a", "true", "1h", "T4"])
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXT, _WORDS)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_FIELDS = sorted({field.alias or name for kind in KINDS.values() for name, field in kind.model_fields.items()})
_DOCUMENTS = st.fixed_dictionaries(
    {
        "apiVersion": st.just("neutrino/v1") | _VALUES,
        "kind": st.sampled_from(sorted(KINDS)) | _VALUES,
        "metadata": st.fixed_dictionaries({}, optional={"name": st.just("a") | _VALUES, "labels": _VALUES}) | _VALUES,
        "spec": st.dictionaries(st.sampled_from(_FIELDS) | _TEXT, _VALUES, max_size=6) | _VALUES,
    }
)


def _reachable(document: Any, path: str) -> bool:
    """Whether a path leads into the document, or to a place that is missing in something that is there."""
    at, rest = document, path
    while rest:
        if isinstance(at, dict) and rest == "[key]":
            return True  # a key that cannot be shown
        if isinstance(at, dict):
            keys = [key for key in at if rest == key or rest.startswith((f"{key}.", f"{key}["))]
            if not keys:
                return True  # missing here
            key = max(keys, key=len)
            at, rest = at[key], rest[len(key) :].removeprefix(".")
        elif isinstance(at, list) and rest.startswith("["):
            index, _, rest = rest[1:].partition("]")
            if not int(index) < len(at):
                return False
            at, rest = at[int(index)], rest.removeprefix(".")
        else:
            return False
    return True


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/plan"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(document=_VALUES | _DOCUMENTS)
def test_no_document_breaks_the_api(api: Api, path: str, document: Any) -> None:
    answer = api("POST", path, content=json.dumps(document).encode(), headers=JSON)
    if answer.status_code in {200, 202}:
        return
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    faults = answer.json()["errors"]
    assert faults
    for fault in faults:
        assert _reachable(document, fault["path"]), fault
        assert "nput should" not in fault["message"], fault


def test_doubled_keys_are_told_of_up_to_a_bound(api: Api) -> None:
    body = '{"' + "k" * 100_000 + '": [' + ",".join(['{"a": 1, "a": 1}'] * 1000) + "]}"
    answer = api("POST", "/v1/plan", "submitter", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert len(answer.text) < 20_000
