"""Logs and states as they happen, over a real server: nothing lost, nothing doubled, also across broken connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from orchestrator.scheduler.dispatcher import dispatch
from tests.integration.api.client import Api, serve


class Attempt:
    """A job that runs, and what its worker sends."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.worker = api.worker()
        self.job = api.submit()
        dispatch(api.database)
        leases = self._post("claim", {"worker": self.worker, "slots": 1})["leases"]
        self.id: str = leases[0]["attempt"]
        self._lines = 0

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._api("POST", f"/v1/worker/{path}", "worker", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def write(self, *texts: str, at: float = 1.0, **fields: Any) -> None:
        """Append lines."""
        first, self._lines = self._lines + 1, self._lines + len(texts)
        lines = [{"at": at, "stream": "stdout", "text": text} for text in texts]
        append = {"attempt": self.id, "seq": first, "firstLine": first, "lines": lines} | fields
        assert self._post("append", {"appends": [append]}) == {"lost": []}

    def succeed(self) -> None:
        """Report success."""
        body = {"worker": self.worker, "reports": [{"attempt": self.id, "reason": "succeeded"}]}
        assert self._post("report", body)["lost"] == []


@pytest.fixture
def url(api: Api) -> Iterator[str]:
    """The address of a real server."""
    with serve(api.app) as url:
        yield url


@contextmanager
def _events(api: Api, url: str, path: str, **headers: str) -> Iterator[Iterator[tuple[str, str | None, Any]]]:
    """The events of a stream: name, id, data."""

    def read(answer: httpx.Response) -> Iterator[tuple[str, str | None, Any]]:
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if line:
                event[field] = value
            elif "data" in event:
                yield event["event"], event.get("id"), json.loads(event["data"])
                event = {}

    headers |= {"Authorization": f"Bearer {api.tokens['viewer']}"}
    with (
        httpx.Client(timeout=120) as client,
        client.stream("GET", url + path, headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield read(answer)


def test_a_stream_that_breaks_again_and_again_misses_and_repeats_nothing(api: Api, url: str) -> None:
    attempt = Attempt(api)
    expected = [f"line {number}" for number in range(200)]

    def produce() -> None:
        for start in range(0, 200, 5):
            attempt.write(*expected[start : start + 5])
        attempt.succeed()

    producer = threading.Thread(target=produce)
    producer.start()
    received: list[str] = []
    last: dict[str, str] = {}
    connections, ended = 0, False
    while not ended:
        connections += 1
        with _events(api, url, f"/v1/jobs/{attempt.job}/logs/stream", **last) as events:
            for count, (name, event_id, data) in enumerate(events, 1):
                if name == "end":
                    assert data == {"state": "SUCCEEDED"}
                    ended = True
                    break
                received.append(data["text"])
                assert event_id == data["id"]
                last = {"Last-Event-ID": str(event_id)}
                if count == 17:
                    break  # the connection breaks here
    producer.join()
    assert received == expected
    assert connections > 10


def test_a_stream_of_a_finished_job_is_its_whole_log_and_an_end(api: Api, url: str) -> None:
    attempt = Attempt(api)
    attempt.write("a", "b\x00c", "ü", "")
    attempt.succeed()
    with _events(api, url, f"/v1/jobs/{attempt.job}/logs/stream") as events:
        names_and_texts = [(name, data.get("text")) for name, _, data in events]
    assert names_and_texts == [("log", "a"), ("log", "b\ufffdc"), ("log", "ü"), ("log", ""), ("end", None)]


def test_a_stream_since_a_time_sends_everything_after_it_although_it_is_long(api: Api, url: str) -> None:
    attempt = Attempt(api)
    attempt.write(*["old"] * 700, at=10.0)
    attempt.write(*["new"] * 1600, at=1000.0)
    attempt.succeed()
    path = f"/v1/jobs/{attempt.job}/logs/stream?since=1970-01-01T00:10:00Z"
    with _events(api, url, path) as events:
        found = [data.get("text") for _, _, data in events]
    assert found == ["new"] * 1600 + [None]


def test_a_stream_that_resumes_after_nonsense_is_refused(api: Api) -> None:
    job = api.submit()
    answer = api("GET", f"/v1/jobs/{job}/logs/stream", headers={"Last-Event-ID": "nonsense"})
    assert answer.status_code == 422, answer.text


def test_a_watcher_sees_every_state_and_the_progress_and_then_the_end(api: Api, url: str) -> None:
    attempt = Attempt(api)
    with _events(api, url, f"/v1/jobs/{attempt.job}/watch") as events:
        assert next(events)[2]["state"] == "RUNNING"
        attempt.write(progress=0.25, message="epoch 1 of 4")
        _, _, halfway = next(events)
        assert (halfway["progress"], halfway["message"]) == (0.25, "epoch 1 of 4")
        attempt.succeed()
        rest = [data["state"] for _, _, data in events]
    assert rest[-1] == "SUCCEEDED"


def test_pages_of_a_log_lead_to_its_end(api: Api) -> None:
    attempt = Attempt(api)
    attempt.write("a", "b", "c")
    path = f"/v1/jobs/{attempt.job}/logs"
    first = api("GET", f"{path}?limit=2").json()
    assert [line["text"] for line in first["lines"]] == ["a", "b"]
    assert (first["next"], first["complete"]) == ("1.2", False)
    second = api("GET", f"{path}?limit=2&after={first['next']}").json()
    assert [line["text"] for line in second["lines"]] == ["c"]
    assert second["complete"] is False  # it still runs
    attempt.succeed()
    last = api("GET", f"{path}?limit=2&after={second['next']}").json()
    assert (last["lines"], last["next"], last["complete"]) == ([], "1.3", True)
    newest = api("GET", f"{path}?tail=2&limit=1").json()
    assert [line["text"] for line in newest["lines"]] == ["b", "c"]
    assert newest["complete"] is True


def test_metrics_come_as_series(api: Api) -> None:
    attempt = Attempt(api)
    points = [{"name": "loss", "step": step, "value": value, "at": 1} for step, value in ((1, 0.5), (2, None))]
    attempt.write(metrics=points)
    (series,) = api("GET", f"/v1/jobs/{attempt.job}/metrics").json()
    assert series == {"name": "loss", "last": None, "min": 0.5, "max": 0.5, "points": [[1, 0.5], [2, None]]}
    assert api("GET", f"/v1/jobs/{attempt.job}/metrics?name=acc").json() == []


def test_the_server_stops_although_somebody_still_listens(api: Api) -> None:
    attempt = Attempt(api)
    with serve(api.app) as url, _events(api, url, f"/v1/jobs/{attempt.job}/watch") as events:
        assert next(events)[2]["state"] == "RUNNING"


@pytest.mark.parametrize("what", ["logs/stream", "watch"])
def test_a_revoked_token_reads_no_further(api: Api, url: str, what: str) -> None:
    attempt = Attempt(api)
    attempt.write("before")
    with _events(api, url, f"/v1/jobs/{attempt.job}/{what}") as events:
        assert next(events)
        with api.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE tokens SET revoked_at = now() WHERE name = 'viewer'")
        api.app.state.authenticator.forget()
        attempt.write("after")
        attempt.succeed()
        assert list(events) == []
