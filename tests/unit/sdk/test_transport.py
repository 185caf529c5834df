"""Requests over a real socket: what is repeated, what is not, and what an error carries."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest

from orchestrator.domain.errors import (
    AuthenticationError,
    Conflict,
    InvalidSpec,
    NotFound,
    RateLimited,
    ServerError,
    ServerUnavailable,
)
from orchestrator.sdk.client import AsyncClient, Client
from tests.unit.sdk.conftest import Reply, Request, ScriptedApi, summary

ME = Reply(json={"user": "ada", "workspace": "vision", "role": "admin"})
ACCEPTED = Reply(202, {"id": "j-1", "name": "digits", "state": "QUEUED"})
DOCUMENT = {"apiVersion": "neutrino/v1", "kind": "Command", "metadata": {"name": "a"}, "spec": {"command": ["true"]}}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_passing_faults_are_retried(api: ScriptedApi, client: Client, status: int) -> None:
    api.answers(Reply(status), Reply(status), ME)
    assert client.whoami().user == "ada"
    assert len(api.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_lasting_faults_are_not_retried(api: ScriptedApi, client: Client, status: int) -> None:
    api.answers(Reply(status), ME)
    with pytest.raises(Exception, match=str(status)):
        client.whoami()
    assert len(api.requests) == 1


def test_a_post_keeps_its_idempotency_key_over_retries_and_has_a_new_one_each_time(
    api: ScriptedApi, client: Client
) -> None:
    api.answers(Reply(503), Reply(cut=True), ACCEPTED, ACCEPTED)
    client.jobs.submit(DOCUMENT)
    client.jobs.submit(DOCUMENT)
    keys = [request.headers["idempotency-key"] for request in api.requests]
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_the_retries_outlast_a_restart_of_the_api(
    api: ScriptedApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("orchestrator.sdk.drivers.time.sleep", slept.append)
    monkeypatch.setattr("orchestrator.sdk.transport._BACKOFF", (0.25, 8.0))
    api.answers(*[Reply(503)] * 8, ME)
    assert client.whoami().user == "ada"
    assert 15 < sum(slept) < 32
    assert len(set(slept)) == 8  # jitter: clients do not come back together


def test_retry_after_is_honoured(api: ScriptedApi, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("orchestrator.sdk.drivers.time.sleep", slept.append)
    api.answers(Reply(429, headers={"Retry-After": "7"}), ME)
    client.whoami()
    assert slept == [7.0]


def test_a_long_retry_after_is_the_callers_business(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(429, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        client.whoami()
    assert caught.value.retry_after == 3600
    assert len(api.requests) == 1


def test_an_api_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url, "secret-token") as client, pytest.raises(ServerUnavailable, match=url) as caught:
            client.whoami()
    assert "neutrino up" in str(caught.value)


def test_a_problem_becomes_its_error(api: ScriptedApi, client: Client) -> None:
    problem = {"code": "not_found", "detail": "There is no job 'j-2'.", "suggestions": ["j-1"], "request_id": "r-9"}
    api.answers(Reply(404, problem))
    with pytest.raises(NotFound) as caught:
        client.jobs.get("j-2")
    assert caught.value.suggestions == ["j-1"]
    assert caught.value.request_id == "r-9"


def test_the_request_id_of_the_header_counts_too(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(500, headers={"X-Request-Id": "r-7"}))
    with pytest.raises(ServerError) as caught:
        client.whoami()
    assert caught.value.request_id == "r-7"


def test_field_errors_travel(api: ScriptedApi, client: Client) -> None:
    errors = [{"path": "spec.gpu", "message": "unknown field", "hint": "Did you mean 'cpu'?"}]
    api.answers(Reply(422, {"code": "invalid_spec", "detail": "spec.gpu: unknown field", "errors": errors}))
    with pytest.raises(InvalidSpec) as caught:
        client.jobs.submit(DOCUMENT)
    assert [error.path for error in caught.value.errors] == ["spec.gpu"]


def test_a_known_code_wins_over_the_status(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(409, {"code": "conflict", "detail": "It has ended."}))
    with pytest.raises(Conflict, match="It has ended"):
        client.workers.drain("w-1")


def test_a_page_of_another_server_is_told_apart(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(200, json="<html>"))
    with pytest.raises(ServerError, match="not Neutrino's"):
        client.whoami()
    api.answers(Reply(302, headers={"Location": "https://login.example.com"}))
    with pytest.raises(ServerError, match="302"):
        client.whoami()


def test_fields_of_a_newer_api_are_passed_over(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(json={"user": "ada", "workspace": "vision", "role": "admin", "mood": "fine"}))
    assert client.whoami().user == "ada"


def test_no_token_shows_anywhere(
    api: ScriptedApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    api.answers(Reply(401, {"code": "unauthenticated", "detail": "The token is unknown."}))
    with Client(api.url, "nt-very-secret") as client, pytest.raises(AuthenticationError) as caught:
        client.whoami()
    assert api.requests[0].headers["authorization"] == "Bearer nt-very-secret"
    shown = [repr(client), str(caught.value), repr(caught.value.details), caplog.text, repr(client.jobs)]
    assert not [text for text in shown if "very-secret" in text]


@pytest.mark.parametrize("token", ["nt-very\nsecret", "nt-véry-secret", "nt very secret"])
def test_a_token_that_no_header_can_hold_is_refused_without_quoting_it(token: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        Client("http://127.0.0.1:1", token)
    assert "secret" not in str(caught.value)


def test_this_machine_is_reached_without_a_proxy(api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    api.answers(ME)
    with Client(api.url, "t") as client:
        assert client.whoami().user == "ada"


def test_an_id_cannot_reach_another_route(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(404))
    with pytest.raises(NotFound):
        client.jobs.get("../tokens?x=1")
    assert api.requests[0].path == "/v1/jobs/..%2Ftokens%3Fx%3D1"


def test_lists_page_themselves(api: ScriptedApi, client: Client) -> None:
    api.answers(
        Reply(json={"items": [summary(id="j-3"), summary(id="j-2")], "next": "c1"}),
        Reply(json={"items": [summary(id="j-1")], "next": None}),
    )
    listed = client.jobs.list(state=["RUNNING", "QUEUED"], label={"team": "vision"})
    assert [job.id for job in listed] == ["j-3", "j-2", "j-1"]
    first, second = api.requests
    assert first.query == {"state": ["RUNNING", "QUEUED"], "label": ["team=vision"]}
    assert second.query["cursor"] == ["c1"]


def test_a_list_asks_for_no_more_than_is_read(api: ScriptedApi, client: Client) -> None:
    api.answers(Reply(json={"items": [summary(id="j-3"), summary(id="j-2")], "next": "c1"}))
    assert [job.id for job in client.jobs.list(limit=1)] == ["j-3"]
    assert next(client.jobs.list()).id == "j-3"
    assert len(api.requests) == 2


def test_many_jobs_go_in_batches_and_come_back_in_order(api: ScriptedApi, client: Client) -> None:
    numbers = iter(range(10_000))

    def accept(request: Request) -> Reply:
        count = len(json.loads(request.body)["jobs"])
        jobs = [{"id": f"j-{next(numbers)}", "name": "a", "state": "QUEUED"} for _ in range(count)]
        return Reply(202, {"jobs": jobs})

    api.answers(accept)
    handles = client.jobs.submit_many([DOCUMENT] * 1201)
    assert [handle.id for handle in handles] == [f"j-{number}" for number in range(1201)]
    assert [request.path for request in api.requests] == ["/v1/jobs/batch"] * 3


async def _async_walk(url: str) -> list[str]:
    async with AsyncClient(url, "t") as client:
        me = await client.whoami()
        return [me.user, *[job.id async for job in client.jobs.list()]]


def test_the_async_client_takes_the_same_steps(api: ScriptedApi) -> None:
    page = Reply(json={"items": [summary(id="j-2")], "next": "c"})
    api.answers(Reply(503), ME, page, Reply(502), Reply(json={"items": [summary(id="j-1")], "next": None}))
    assert asyncio.run(_async_walk(api.url)) == ["ada", "j-2", "j-1"]
    assert len(api.requests) == 5
