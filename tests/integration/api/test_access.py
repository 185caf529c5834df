"""Who may call what: every route but health asks for a token of the right role and workspace."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text

from orchestrator.domain.ids import decode_attempt
from orchestrator.scheduler.dispatcher import dispatch
from tests.integration.api.client import DOCUMENT, Api

OPEN = {"/healthz", "/readyz", "/schemas/job.v1.json"}
# The weakest role that may call each route; who is below is refused.
VIEWER, SUBMITTER, OPERATOR, ADMIN = "viewer", "submitter", "operator", "admin"
LADDER = (VIEWER, SUBMITTER, OPERATOR, ADMIN)
NEEDS = {
    ("POST", "/v1/jobs"): SUBMITTER,
    ("POST", "/v1/jobs/batch"): SUBMITTER,
    ("POST", "/v1/plan"): SUBMITTER,
    ("POST", "/v1/jobs/{job_id}/cancel"): SUBMITTER,
    ("POST", "/v1/jobs/{job_id}/retry"): SUBMITTER,
    ("PUT", "/v1/files/{sha256}"): SUBMITTER,
    ("POST", "/v1/workers/{worker_id}/drain"): OPERATOR,
    ("POST", "/v1/stores/check"): SUBMITTER,
    ("POST", "/v1/jobs/{job_id}/migrate"): SUBMITTER,
    ("POST", "/v1/jobs/{job_id}/checkpoint"): SUBMITTER,
    ("POST", "/v1/models/{name}/{version}/migrate"): SUBMITTER,
    ("POST", "/v1/models/{name}/{version}/migrate/plan"): SUBMITTER,
    ("POST", "/v1/models/{name}/{version}/verify"): SUBMITTER,
    ("PUT", "/v1/models/{name}/aliases/{alias}"): SUBMITTER,
    ("DELETE", "/v1/models/{name}/aliases/{alias}"): SUBMITTER,
    ("DELETE", "/v1/models/{name}/{version}"): SUBMITTER,
    ("POST", "/v1/notifications"): OPERATOR,
    ("DELETE", "/v1/notifications/{name}"): OPERATOR,
    ("POST", "/v1/notifications/{name}/test"): OPERATOR,
    ("POST", "/v1/clusters/{name}/check"): OPERATOR,
    ("POST", "/v1/clusters/{name}/drain"): OPERATOR,
    ("POST", "/v1/clusters/{name}/resume"): OPERATOR,
    ("POST", "/v1/clusters"): ADMIN,
    ("DELETE", "/v1/clusters/{name}"): ADMIN,
    ("GET", "/v1/audit"): ADMIN,
    ("GET", "/v1/audit/verify"): ADMIN,
    ("POST", "/v1/pools"): ADMIN,
    ("PUT", "/v1/pools/{name}/price"): ADMIN,
    ("GET", "/v1/tokens"): ADMIN,
    ("POST", "/v1/tokens"): ADMIN,
    ("DELETE", "/v1/tokens/{token_id}"): ADMIN,
}
READ_BY_ATTEMPTS = {("GET", "/v1/files/{sha256}"), ("HEAD", "/v1/files/{sha256}")}
SCRAPED = ("GET", "/metrics")  # by whoever is no attempt
ATTEMPTS_ONLY = {"/v1/worker/attach", "/v1/worker/node"}
NOTHING = {"job_id": "j-zzzzz", "artifact_id": "a-zzzzz", "worker_id": "w-zzzzz", "token_id": "t-zzzzz"}
NOTHING |= {"name": "nothing", "version": "1", "path": "x", "sha256": "0" * 64}


def _routes(api: Api) -> list[tuple[str, str]]:
    def walk(routes: Any) -> Any:
        for route in routes:
            if isinstance(route, APIRoute):
                yield from ((method, route.path) for method in route.methods or ())
            elif hasattr(route, "original_router"):
                yield from walk(route.original_router.routes)

    found = sorted(set(walk(api.app.routes)))
    documented = {(method.upper(), path) for path, methods in api.app.openapi()["paths"].items() for method in methods}
    assert documented <= {(method, path.replace(":path", "")) for method, path in found}
    assert len(found) > 30
    return found


def _url(path: str) -> str:
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: NOTHING.get(match[1], "nothing"), path)


def test_every_route_but_health_needs_a_token(api: Api) -> None:
    for method, path in _routes(api):
        answer = api(method, _url(path), None)
        if path in OPEN:
            assert answer.status_code == 200, path
            continue
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_that_nobody_made_opens_nothing(api: Api) -> None:
    for method, path in _routes(api):
        for token in ("nu_wrong", "nat_wrong", "x"):
            assert path in OPEN or api(method, _url(path), token).status_code == 401, (method, path)


def test_every_route_refuses_the_strongest_role_that_is_too_weak(api: Api) -> None:
    for method, path in _routes(api):
        if path in OPEN:
            continue
        if path.startswith("/v1/worker/"):
            weak = ["worker", *LADDER] if path in ATTEMPTS_ONLY else [*LADDER]
        elif (method, path) == SCRAPED:
            weak = []
        elif (method, path) in READ_BY_ATTEMPTS:
            weak = ["worker"]
        else:
            weak = ["worker", *LADDER[: LADDER.index(NEEDS.get((method, path), VIEWER))]]
        for role in weak:
            assert api(method, _url(path), role).status_code == 403, (method, path, role)


def test_every_route_lets_the_weakest_role_that_is_strong_enough_in(api: Api) -> None:
    for method, path in _routes(api):
        if path in OPEN or path in ATTEMPTS_ONLY:
            continue
        role = "worker" if path.startswith("/v1/worker/") else NEEDS.get((method, path), VIEWER)
        assert api(method, _url(path), role).status_code not in {401, 403, 500}, (method, path, role)


def test_another_workspaces_things_are_not_found(api: Api) -> None:
    job = api.submit()
    token = api("POST", "/v1/tokens", json={"name": "mine", "user": "ada", "role": "viewer"}).json()["id"]
    content = b"print(1)"
    sha256 = hashlib.sha256(content).hexdigest()
    assert api("PUT", f"/v1/files/{sha256}", content=content).status_code == 204
    theirs = [
        ("GET", f"/v1/jobs/{job}"),
        ("GET", f"/v1/jobs/{job}/events"),
        ("GET", f"/v1/jobs/{job}/why"),
        ("GET", f"/v1/jobs/{job}/logs"),
        ("GET", f"/v1/jobs/{job}/logs/stream"),
        ("GET", f"/v1/jobs/{job}/watch"),
        ("GET", f"/v1/jobs/{job}/metrics"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("POST", f"/v1/jobs/{job}/retry"),
        ("GET", f"/v1/artifacts?job={job}"),
        ("GET", f"/v1/files/{sha256}"),
        ("HEAD", f"/v1/files/{sha256}"),
        ("DELETE", f"/v1/tokens/{token}"),
    ]
    for method, path in theirs:
        assert api(method, path, "stranger").status_code == 404, (method, path)
    for path in ("/v1/jobs", "/v1/artifacts", "/v1/models"):
        assert api("GET", path, "stranger").json()["items"] == []
    assert [one["name"] for one in api("GET", "/v1/tokens", "stranger").json()["items"]] == ["stranger"]
    assert api("GET", "/v1/status", "stranger").json()["jobs"]["QUEUED"] == 0
    assert api("GET", f"/v1/jobs/{job}").json()["state"] == "QUEUED"  # and nothing has happened to it


def test_a_revoked_token_is_refused_at_once(api: Api) -> None:
    made = api("POST", "/v1/tokens", json={"name": "short", "user": "ada", "role": "viewer"}).json()
    assert api("GET", "/v1/whoami", made["token"]).json() == {"user": "ada", "workspace": "vision", "role": "viewer"}
    assert api("DELETE", f"/v1/tokens/{made['id']}").status_code == 204
    assert api("GET", "/v1/whoami", made["token"]).status_code == 401
    assert api("DELETE", f"/v1/tokens/{made['id']}").status_code == 204  # twice is once


def test_the_last_admin_of_a_workspace_stays(api: Api) -> None:
    (first,) = (one["id"] for one in api("GET", "/v1/tokens").json()["items"] if one["name"] == "admin")
    refused = api("DELETE", f"/v1/tokens/{first}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "neutrino token create" in refused.json()["hint"]
    second = api("POST", "/v1/tokens", json={"name": "b", "user": "ada", "role": "admin", "expires_in_days": 1}).json()
    with ThreadPoolExecutor(2) as threads:  # both at once: each is the last but for the other
        answers = list(threads.map(lambda one: api("DELETE", f"/v1/tokens/{one}").status_code, [first, second["id"]]))
    assert sorted(answers) in ([204, 401], [204, 409])
    left = "SELECT count(*) FROM tokens WHERE role = 'admin' AND user_name = 'ada' AND revoked_at IS NULL"
    with api.database.transaction() as connection:
        assert connection.exec_driver_sql(left).scalar_one() == 1


def test_an_expired_token_is_refused(api: Api) -> None:
    made = api("POST", "/v1/tokens", json={"name": "short", "user": "ada", "role": "viewer"}).json()
    with api.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE tokens SET expires_at = clock_timestamp() WHERE name = 'short'")
    assert api("GET", "/v1/whoami", made["token"]).status_code == 401


def test_a_tokens_secret_is_shown_once_and_stored_nowhere(api: Api) -> None:
    made = api("POST", "/v1/tokens", json={"name": "new", "user": "ada", "role": "viewer"}).json()
    secret = made["token"]
    assert len(secret) > 40
    assert secret not in api("GET", "/v1/tokens").text
    with api.database.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT t::text AS row FROM tokens t").all()
    assert not any(secret in row.row for row in rows)


@pytest.fixture
def lease(api: Api) -> dict[str, Any]:
    """What a worker has just claimed."""
    worker = api.worker()
    api.submit()
    dispatch(api.database)
    answer = api("POST", "/v1/worker/claim", "worker", json={"worker": worker, "slots": 1})
    lease: dict[str, Any] = answer.json()["leases"][0]
    return {"worker": worker} | lease


def test_an_attempts_token_speaks_for_its_attempt_only(api: Api, lease: dict[str, Any]) -> None:
    other = api.worker("other")
    api.submit()
    dispatch(api.database)
    claimed = api("POST", "/v1/worker/claim", "worker", json={"worker": other, "slots": 1}).json()
    theirs = claimed["leases"][0]["attempt"]

    def append(attempt: str) -> Any:
        return api(
            "POST", "/v1/worker/append", lease["token"], json={"appends": [{"attempt": attempt, "seq": 1}]}
        ).json()

    assert append(lease["attempt"]) == {"lost": []}
    assert append(theirs) == {"lost": [theirs]}
    report = {"worker": other, "reports": [{"attempt": theirs, "reason": "succeeded"}]}
    assert api("POST", "/v1/worker/report", lease["token"], json=report).json()["lost"] == [theirs]
    artifact = {"store": "file:///s", "prefix": "p", "digest": "0" * 64, "size": 0, "files": 0}
    published = {"attempt": theirs, "step": 1, "artifact": artifact}
    assert api("POST", "/v1/worker/checkpoint", lease["token"], json=published).json()["code"] == "lease_lost"
    for path, body in (
        ("register", {"name": "x", "pool": "local", "slots": 1, "host": "h", "pid": 1, "version": "0"}),
        ("claim", {"worker": other, "slots": 1}),
        ("heartbeat", {"worker": other}),
        ("report", {"worker": other, "slots": 1}),
    ):
        assert api("POST", f"/v1/worker/{path}", lease["token"], json=body).status_code == 403, path


def test_an_attempts_token_reads_files_and_nothing_else(api: Api, lease: dict[str, Any]) -> None:
    job = decode_attempt(lease["attempt"])
    assert job.epoch == 1
    assert api("GET", "/v1/files/" + "0" * 64, lease["token"]).status_code == 404
    for path in ("/v1/jobs", "/v1/whoami", "/v1/models", "/v1/tokens", "/v1/status"):
        assert api("GET", path, lease["token"]).status_code == 403
    assert api("POST", "/v1/jobs", lease["token"], json=DOCUMENT).status_code == 403


def test_an_attempts_token_dies_with_its_lease(api: Api, lease: dict[str, Any]) -> None:
    body = {"appends": [{"attempt": lease["attempt"], "seq": 1}]}
    assert api("POST", "/v1/worker/append", lease["token"], json=body).status_code == 200
    report = {"worker": lease["worker"], "reports": [{"attempt": lease["attempt"], "reason": "succeeded"}]}
    assert api("POST", "/v1/worker/report", lease["token"], json=report).json()["lost"] == []
    assert api("POST", "/v1/worker/append", lease["token"], json=body).status_code == 401


def test_no_token_is_written_to_the_log(api: Api, lease: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    made = api("POST", "/v1/tokens", json={"name": "new", "user": "ada", "role": "viewer"}).json()["token"]
    api("GET", "/v1/whoami", made)
    api("GET", "/v1/jobs", "nu_secret-of-a-stranger")
    api("POST", "/v1/worker/append", lease["token"], json={"appends": []})
    api("POST", "/v1/jobs", json=DOCUMENT | {"spec": {"command": ["true"], "env": {"PASSWORD": "hunter2"}}})
    api("POST", "/v1/jobs", json=DOCUMENT | {"spec": {"env": {"PASSWORD": "hunter2"}}})
    assert "GET /v1/whoami 200" in caplog.text
    for secret in (made, lease["token"], "nu_secret-of-a-stranger", "hunter2", *api.tokens.values()):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/pools", {"name": "mine", "store": "s3://bucket"}),
        ("PUT", "/v1/pools/local/price", {"usdPerHour": 2}),
        ("POST", "/v1/tokens", {"name": "w", "user": "eve", "role": "worker"}),
        ("POST", "/v1/clusters", {"name": "mine", "kind": "kubeconfig"}),
        ("POST", "/v1/clusters/theirs/drain", None),
        ("DELETE", "/v1/clusters/theirs", None),
        ("POST", "/v1/workers/{worker}/drain", None),
    ],
)
def test_an_admin_of_another_workspace_cannot_touch_what_serves_all(
    api: Api, method: str, path: str, body: dict[str, str] | None
) -> None:
    answer = api(method, path.format(worker=api.worker()), "stranger", **({"json": body} if body else {}))
    assert answer.status_code == 403, answer.text
    assert "every workspace" in answer.json()["detail"]


def test_a_worker_token_of_another_workspace_is_worth_nothing(api: Api) -> None:
    token = api("POST", "/v1/tokens", json={"name": "w", "user": "ada", "role": "worker"}).json()["token"]
    with api.database.transaction() as connection:  # as one that was made before this rule
        moved = "UPDATE tokens SET workspace_id = (SELECT max(id) FROM workspaces) WHERE name = 'w'"
        connection.execute(text(moved))
    assert api("POST", "/v1/worker/register", token, json={}).status_code == 401
