"""What comes back for requests that are wrong, too large, sent twice, or sent while the database is away."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal

from orchestrator.api.app import create_app
from orchestrator.api.errors import MAX_BODY_BYTES
from orchestrator.store import jobs
from orchestrator.store.session import Database
from tests.integration.api.client import DOCUMENT, WORKER, Api, serve


def _problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["type"] == f"urn:neutrino:error:{code}"
    return problem


# --- submitting ---


def test_a_job_is_accepted_and_can_be_seen_by_every_reader(api: Api) -> None:
    answer = api("POST", "/v1/jobs", "submitter", json=DOCUMENT)
    assert answer.status_code == 202
    assert answer.json() | {"id": ""} == {"id": "", "name": "hello", "state": "QUEUED"}
    job = api("GET", f"/v1/jobs/{answer.json()['id']}", "viewer").json()
    assert job["document"] == DOCUMENT
    assert (job["user"], job["workspace"], job["state"], job["reason"]) == ("ada", "vision", "QUEUED", "submitted")
    events = api("GET", f"/v1/jobs/{job['id']}/events").json()["items"]
    assert [(event["source"], event["target"], event["actor"]) for event in events] == [(None, "QUEUED", "user:ada")]
    why = api("GET", f"/v1/jobs/{job['id']}/why").json()
    assert why["message"] == "Waiting: no worker of pool local is online."
    assert why["position"] == 1


def test_the_same_key_gives_the_same_answer_and_one_job(api: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = api("POST", "/v1/jobs", json=DOCUMENT, headers=key)
    again = api("POST", "/v1/jobs", json=DOCUMENT, headers=key)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert len(api("GET", "/v1/jobs").json()["items"]) == 1


def test_fifty_submits_at_once_with_one_key_are_one_job(api: Api) -> None:
    start = threading.Barrier(10, timeout=120)

    def submit(number: int) -> str:
        if number < 10:
            start.wait()
        return api.submit(headers={"Idempotency-Key": "storm"})

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(submit, range(50)))
    assert [job["id"] for job in api("GET", "/v1/jobs").json()["items"]] == [answers[0]]
    assert set(answers) == {answers[0]}


def test_the_same_key_with_another_body_or_route_is_a_conflict(api: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    job = api.submit(headers=key)
    other = DOCUMENT | {"metadata": {"name": "other"}}
    _problem(api("POST", "/v1/jobs", json=other, headers=key), 409, "conflict")
    _problem(api("POST", f"/v1/jobs/{job}/cancel", headers=key), 409, "conflict")
    assert len(api("GET", "/v1/jobs").json()["items"]) == 1


def test_a_refused_request_leaves_its_key_free(api: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    missing = DOCUMENT | {"spec": {"command": ["true"], "files": [{"path": "a", "sha256": "0" * 64, "size": 1}]}}
    fault = _problem(api("POST", "/v1/jobs", json=missing, headers=key), 422, "invalid_spec")["errors"][0]
    assert fault == {
        "path": "spec.files[0].sha256",
        "message": "a has not been uploaded",
        "hint": f"PUT /v1/files/{'0' * 64}",
    }
    assert api("POST", "/v1/jobs", json=DOCUMENT, headers=key).status_code == 202


def test_a_batch_is_accepted_whole_or_not_at_all(api: Api) -> None:
    wrong = DOCUMENT | {"kind": "Comand"}
    problem = _problem(api("POST", "/v1/jobs/batch", json={"jobs": [DOCUMENT, wrong]}), 422, "invalid_spec")
    assert problem["errors"] == [{"path": "jobs[1].kind", "message": "is 'Comand'", "hint": "Did you mean 'Command'?"}]
    assert api("GET", "/v1/jobs").json()["items"] == []
    documents = [DOCUMENT | {"metadata": {"name": f"n{number}"}} for number in range(20)]
    accepted = api("POST", "/v1/jobs/batch", json={"jobs": documents}).json()["jobs"]
    assert [job["name"] for job in accepted] == [f"n{number}" for number in range(20)]
    for job in accepted:
        assert api("GET", f"/v1/jobs/{job['id']}").json()["name"] == job["name"]


def test_a_plan_explains_and_stores_nothing(api: Api) -> None:
    plan = api("POST", "/v1/plan", json=DOCUMENT).json()
    assert [(one["pool"], one["verdict"]) for one in plan["considered"]] == [("local", "fits, but no worker is online")]
    api.worker()
    assert api("POST", "/v1/plan", json=DOCUMENT).json()["message"] == "Would start at once in pool local."
    assert api("GET", "/v1/jobs").json()["items"] == []


def test_cancel_and_retry_do_what_the_state_allows(api: Api) -> None:
    job = api.submit()
    _problem(api("POST", f"/v1/jobs/{job}/retry"), 409, "conflict")
    assert api("POST", f"/v1/jobs/{job}/cancel").json()["state"] == "CANCELLED"
    assert api("POST", f"/v1/jobs/{job}/cancel").json()["state"] == "CANCELLED"
    assert api("POST", f"/v1/jobs/{job}/retry").json()["state"] == "QUEUED"


# --- wrong requests ---

WRONG_BODIES: list[tuple[str, bytes]] = [
    ("not JSON", b"{"),
    ("no body", b""),
    ("a list", b"[]"),
    ("a number", b"1"),
    ("not UTF-8", b'{"kind": "\xff"}'),
    ("NaN", json.dumps(DOCUMENT | {"spec": {"command": ["x"], "params": {"a": float("nan")}}}).encode()),
    ("infinity", json.dumps(DOCUMENT | {"spec": {"command": ["x"], "params": {"a": float("inf")}}}).encode()),
    ("an overflowing number", b'{"kind": 1e999}'),
    ("a number of 5000 digits", b'{"kind": ' + b"9" * 5000 + b"}"),
    ("a hundred thousand brackets", b'{"kind": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ("a thousand levels", b'{"kind": ' + b"[" * 900 + b"]" * 900 + b"}"),
    ("half a surrogate pair", b'{"kind": "\\ud800"}'),
    ("half a surrogate pair as a key", b'{"\\ud800": 1}'),
    ("NUL", b'{"kind": "\\u0000"}'),
    ("an unknown kind", json.dumps(DOCUMENT | {"kind": "Pod"}).encode()),
]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/batch", "/v1/plan", "/v1/pools"])
def test_a_wrong_body_is_the_senders_fault_and_stores_nothing(api: Api, path: str) -> None:
    for what, one in WRONG_BODIES:
        in_batch = path == "/v1/jobs/batch" and one[:1] == b"{" and one[-1:] == b"}"
        body = b'{"jobs": [' + one + b"]}" if in_batch else one
        answer = api("POST", path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, (what, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", what
        assert answer.json()["request_id"], what
    assert api("GET", "/v1/jobs").json()["items"] == []


def test_a_wrong_question_is_the_askers_fault(api: Api) -> None:
    for path in (
        "/v1/jobs?name=%00",
        "/v1/jobs?label=a",
        "/v1/jobs?label=a%3D%00",
        "/v1/jobs?state=PAUSED",
        "/v1/jobs?limit=0",
        "/v1/jobs?limit=1001",
        "/v1/jobs?cursor=garbage",
        "/v1/jobs?since=yesterday",
        "/v1/tokens?cursor=garbage",
        "/v1/workers?cursor=garbage",
        "/v1/artifacts?cursor=garbage",
        "/v1/models/x%00",
        "/v1/models/x?cursor=99999999999",
        "/v1/files/xyz",
    ):
        _problem(api("GET", path), 422, "invalid_spec")


def test_odd_but_right_questions_are_answered(api: Api) -> None:
    job = api.submit()
    for query in ("since=0001-01-01T00:00:00", "since=9999-12-31T23:59:59", "after=1.1&tail=1"):
        assert api("GET", f"/v1/jobs/{job}/logs?{query}").status_code == 200, query
    assert api("GET", "/v1/jobs?since=0001-01-01T00:00:00").status_code == 200


def test_what_is_not_there_is_a_problem_too(api: Api) -> None:
    for path in ("/v1/jobs/j-zzzz", "/v1/jobs/nonsense", "/v1/artifacts/a-zzzz", "/v1/models/x", "/nope"):
        _problem(api("GET", path), 404, "not_found")
    _problem(api("PATCH", "/v1/jobs"), 405, "method_not_allowed")


def test_a_pool_that_placement_could_not_read_is_refused(api: Api) -> None:
    pool = {"name": "a", "store": "file:///s"}
    for wrong in ({"gpu": "T4:0"}, {"cloud": "moon"}, {"store": ""}, {"region": "a\x00b"}, {"name": "A"}):
        _problem(api("POST", "/v1/pools", json=pool | wrong), 422, "invalid_spec")
    assert api("POST", "/v1/pools", json=pool | {"gpu": "t4"}).json()["gpu"] == "T4:1"
    _problem(api("POST", "/v1/pools", json=pool), 409, "conflict")


def test_what_workers_send_must_fit_into_the_database(api: Api) -> None:
    worker = api.worker()
    append = {"attempt": "j-1.1", "seq": 1}
    artifact = {"store": "file:///s", "prefix": "p", "digest": "0" * 64, "size": 0, "files": 0}
    huge = 2**70
    wrong: list[tuple[str, Any]] = [
        ("register", WORKER | {"pid": huge}),
        ("register", WORKER | {"host": "a\x00"}),
        ("append", {"appends": [append | {"seq": huge}]}),
        ("append", {"appends": [append | {"firstLine": huge}]}),
        ("append", {"appends": [append | {"metrics": [{"name": "a", "step": huge, "value": 1, "at": 1}]}]}),
        ("checkpoint", {"attempt": "j-1.1", "step": huge, "artifact": artifact}),
        ("checkpoint", {"attempt": "j-1.1", "step": 1, "artifact": artifact | {"size": huge}}),
        ("checkpoint", {"attempt": "j-1.1", "step": 1, "artifact": artifact | {"files": huge}}),
        ("checkpoint", {"attempt": "j-1.1", "step": 1, "artifact": artifact | {"prefix": "../up"}}),
        ("report", {"worker": worker, "reports": [{"attempt": "j-1.1", "reason": "oom", "exitCode": huge}]}),
        ("report", {"worker": worker, "reports": [{"attempt": "j-1.1", "reason": "submitted"}]}),
    ]
    for path, body in wrong:
        _problem(api("POST", f"/v1/worker/{path}", "worker", json=body), 422, "invalid_spec")


def test_an_unforeseen_failure_tells_nothing_but_its_id(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_args: object, **_more: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("orchestrator.store.pools.views", explode)
    answer = api("GET", "/v1/pools", headers={"X-Request-Id": "mine-1"})
    problem = _problem(answer, 500, "internal")
    assert problem["request_id"] == "mine-1"
    assert "secret detail" not in answer.text


def test_a_request_id_that_could_do_harm_is_replaced(api: Api) -> None:
    for given in ("bad id", "x" * 65, "ü", "<script>"):
        answer = api("GET", "/healthz", headers={"X-Request-Id": given.encode()})
        assert answer.headers["x-request-id"].startswith("r-")


# --- too large ---


def test_a_body_that_announces_too_much_is_refused_before_it_is_read(api: Api) -> None:
    headers = {"Content-Length": str(MAX_BODY_BYTES + 1), "Content-Type": "application/json"}
    for method, path in (("POST", "/v1/jobs"), ("PUT", "/v1/files/" + "0" * 64)):
        _problem(api(method, path, content=b"{}", headers=headers), 413, "too_large")


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/jobs"), ("PUT", "/v1/files/" + "0" * 64)])
def test_a_body_of_unknown_length_is_cut_off_when_it_is_too_large(api: Api, method: str, path: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1_000_000 + 3):
            yield b" " * 1_000_000

    with serve(api.app) as url:
        headers = {"Authorization": f"Bearer {api.tokens['admin']}", "Content-Type": "application/json"}
        answer = httpx.request(method, url + path, content=endless(), headers=headers, timeout=120)
    _problem(answer, 413, "too_large")


@pytest.mark.parametrize("token", [None, "nu_wrong"])
@pytest.mark.parametrize("length", [{}, {"Content-Length": str(4 * 1024**2)}])
def test_a_strangers_large_body_is_refused_before_it_is_read(
    api: Api, token: str | None, length: dict[str, str]
) -> None:
    read = 0

    async def large() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(4):
            read += 1
            yield b" " * 1024**2

    headers = {"Content-Type": "application/json", **length}
    _problem(api("POST", "/v1/jobs", token, content=large(), headers=headers), 401, "unauthenticated")
    assert read == 0


# --- without a database ---


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_without_its_database_the_api_says_so_and_accepts_nothing(portal: BlockingPortal, closed_port: int) -> None:
    database = Database(f"postgresql://nobody:none@127.0.0.1:{closed_port}/none")

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=create_app(database), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://neutrino") as client:
            headers = {"Authorization": "Bearer nu_any", "Idempotency-Key": "k"}
            return [
                await client.post("/v1/jobs", json=DOCUMENT, headers=headers),
                await client.get("/v1/jobs", headers=headers),
                await client.get("/readyz"),
                await client.get("/healthz"),
            ]

    *broken, healthy = portal.call(ask)
    for answer in broken:
        assert _problem(answer, 503, "unavailable")["retryable"] is True
        assert answer.headers["retry-after"] == "1"
        assert "nobody" not in answer.text
    assert healthy.status_code == 200


def test_a_connection_cut_in_the_middle_of_a_submit_is_no_acceptance(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = jobs.submit

    def submit_and_lose_the_connection(connection: Any, *rest: Any) -> list[int]:
        made = submit(connection, *rest)
        with api.database.engine.begin() as other:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            other.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
        return made

    headers = {"Idempotency-Key": "k"}
    with monkeypatch.context() as patched:
        patched.setattr("orchestrator.api.routes.jobs.jobs.submit", submit_and_lose_the_connection)
        answer = api("POST", "/v1/jobs", json=DOCUMENT, headers=headers)
        _problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert api("GET", "/v1/jobs").json()["items"] == []
    assert api("POST", "/v1/jobs", json=DOCUMENT, headers=headers).status_code == 202


# --- the description ---


def test_the_openapi_document_describes_every_operation(api: Api) -> None:
    document = api("GET", "/openapi.json", None).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert len(operation["description"]) > 10, (method, path)
            (good,) = [answer for status, answer in operation["responses"].items() if status.startswith("2")][:1]
            assert good["description"], (method, path)
            if method == "head" or "204" in operation["responses"] or path.endswith("/schemas/job.v1.json"):
                continue
            assert good.get("content"), (method, path)
            (content,) = good["content"].items()
            if content[0] == "application/json":
                assert content[1]["schema"], (method, path)
    assert document["components"]["securitySchemes"]
