"""Waiting and following over connections that break."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from orchestrator.domain.errors import InvalidSpec, JobCancelled, JobFailed, NotFound, ServerUnavailable, WaitTimeout
from orchestrator.domain.state import JobState
from orchestrator.sdk import sse
from orchestrator.sdk.client import AsyncClient, Client
from orchestrator.sdk.jobs import JobHandle
from orchestrator.sdk.sse import EventDecoder
from tests.unit.sdk.conftest import NOW, Reply, Request, ScriptedApi, entry, event, summary

SUCCEEDED = summary("SUCCEEDED", finishedAt=NOW, exitCode=0)


@pytest.fixture
def job(api: ScriptedApi, client: Client) -> JobHandle:
    api.answers(Reply(202, {"id": "j-1", "name": "digits", "state": "QUEUED"}))
    handle = client.jobs.submit({})
    api.requests.clear()
    return handle


def test_events_are_the_same_wherever_their_bytes_are_cut() -> None:
    first = ': hello\r\n\r\nevent: log\r\nid: 1\r\ndata: {"a":\r\ndata: "ü"}\r\n\r\n'
    text = (first + "data: x\n\nid: 3\nevent: end\ndata\n\n").encode()
    whole = list(EventDecoder().feed(text))
    assert [(one.type, one.data, one.id) for one in whole] == [
        ("log", '{"a":\n"ü"}', "1"),
        ("message", "x", "1"),
        ("end", "", "3"),
    ]
    for cut in range(len(text)):
        decoder = EventDecoder()
        assert [*decoder.feed(text[:cut]), *decoder.feed(text[cut:])] == whole
    decoder = EventDecoder()
    assert [found for byte in text for found in decoder.feed(bytes([byte]))] == whole


def test_following_resumes_after_the_last_line(api: ScriptedApi, job: JobHandle) -> None:
    first = event("log", entry(1), "1.1") + event("log", entry(2), "1.2") + b"event: log\nid: 1.3\ndata: {"
    rest = event("log", entry(3), "1.3") + event("end", {"state": "SUCCEEDED"})
    api.answers(Reply(chunks=(first,), cut=True), Reply(503), Reply(chunks=(rest,)))
    assert [line.text for line in job.logs(follow=True)] == ["line 1", "line 2", "line 3"]
    assert [request.headers.get("last-event-id") for request in api.requests] == [None, "1.2", "1.2"]


def test_following_from_a_tail_goes_on_where_the_page_ended(api: ScriptedApi, job: JobHandle) -> None:
    page = {"lines": [entry(8), entry(9)], "next": "1.9", "complete": False}
    empty = {"lines": [], "next": "1.9", "complete": False}
    stream = event("log", entry(10), "1.10") + event("end", {"state": "SUCCEEDED"})
    api.answers(Reply(json=page), Reply(json=empty), Reply(chunks=(stream,)))
    assert [line.line for line in job.logs(follow=True, tail=2)] == [8, 9, 10]
    assert api.requests[0].query == {"tail": ["2"]}
    assert api.requests[2].headers["last-event-id"] == "1.9"


def test_logs_without_follow_are_paged(api: ScriptedApi, job: JobHandle) -> None:
    api.answers(
        Reply(json={"lines": [entry(1)], "next": "1.1", "complete": False}),
        Reply(json={"lines": [], "next": "1.900", "complete": False}),  # a long search has found nothing so far
        Reply(json={"lines": [entry(901)], "next": "1.901", "complete": False}),
        Reply(json={"lines": [], "next": "1.901", "complete": True}),
    )
    assert [line.line for line in job.logs(since="10m")] == [1, 901]
    assert all("since" in request.query for request in api.requests)
    assert [request.query.get("after") for request in api.requests] == [None, ["1.1"], ["1.900"], ["1.901"]]


def test_a_since_that_is_no_duration_is_refused(job: JobHandle) -> None:
    with pytest.raises(InvalidSpec, match="10m"):
        list(job.logs(since="yesterday"))


def test_waiting_survives_breaks_and_a_restart_of_the_api(api: ScriptedApi, job: JobHandle) -> None:
    running = event("job", summary("RUNNING", progress=0.5))
    api.answers(
        Reply(chunks=(running,), cut=True),
        *[Reply(503)] * 8,  # more than an ordinary request would bear
        Reply(chunks=(b": keep-alive\n\n", running)),
        Reply(chunks=(event("job", SUCCEEDED),)),
    )
    assert job.wait() is job
    assert job.state is JobState.SUCCEEDED


def test_a_failed_job_brings_its_reason_and_the_end_of_its_log(api: ScriptedApi, job: JobHandle) -> None:
    failed = summary("FAILED", reason="user_error", message="Exit code 3.", exitCode=3, finishedAt=NOW)
    log = {"lines": [entry(1), entry(2)], "next": "1.2", "complete": True}
    api.answers(Reply(chunks=(event("job", failed),)), Reply(json=log))
    with pytest.raises(JobFailed, match=r"Exit code 3\.") as caught:
        job.wait()
    assert caught.value.reason == "user_error"
    assert caught.value.job_exit_code == 3
    assert caught.value.log_tail == ["line 1", "line 2"]


def test_a_cancelled_job_is_told_from_a_failed_one(api: ScriptedApi, job: JobHandle) -> None:
    api.answers(Reply(chunks=(event("job", summary("CANCELLED", finishedAt=NOW)),)))
    with pytest.raises(JobCancelled):
        job.wait()


def _chatter(stop: threading.Event) -> Callable[[Request], Reply]:
    """A stream that says something again and again, and never that the job has ended."""

    def chunks() -> Iterator[bytes]:
        while not stop.wait(0.02):
            yield event("job", summary("RUNNING"))

    return lambda request: Reply(chunks=chunks(), cut=True)


def test_a_wait_ends_at_its_timeout_however_much_is_said(api: ScriptedApi, job: JobHandle) -> None:
    stop = threading.Event()
    api.answers(_chatter(stop))
    try:
        with pytest.raises(WaitTimeout, match=r"RUNNING after 0\.3s"):
            job.wait(timeout=0.3)
    finally:
        stop.set()


def test_a_wait_ends_at_its_timeout_when_nothing_is_said(api: ScriptedApi, job: JobHandle) -> None:
    silent = threading.Event()

    def hang(request: Request) -> Reply:
        silent.wait(20)
        return Reply(503)

    api.answers(hang)
    try:
        with pytest.raises((WaitTimeout, ServerUnavailable)):
            job.wait(timeout="0.2s")
    finally:
        silent.set()


def test_ctrl_c_detaches_and_tells_how_to_come_back(
    api: ScriptedApi, job: JobHandle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.sdk.drivers.time.sleep", interrupt)
    api.answers(Reply(503))
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    assert "neutrino wait j-1" in capsys.readouterr().err
    assert [request.method for request in api.requests] == ["GET"]  # nothing was cancelled


def test_progress_without_a_terminal_is_a_line_per_state(
    api: ScriptedApi, job: JobHandle, capsys: pytest.CaptureFixture[str]
) -> None:
    told = (
        event("job", summary())
        + event("job", summary(progress=0.3))
        + event("job", SUCCEEDED | {"reason": "succeeded"})
    )
    api.answers(Reply(chunks=(told,)))
    job.wait(progress=True)
    told_lines = capsys.readouterr().err.splitlines()
    assert len(told_lines) == 2
    assert "\x1b" not in "".join(told_lines)


def test_a_stream_that_never_says_anything_is_given_up(api: ScriptedApi, job: JobHandle) -> None:
    api.answers(Reply())
    with pytest.raises(ServerUnavailable, match="without a word"):
        job.wait()
    assert len(api.requests) == sse._FRUITLESS + 1


def test_a_wrong_id_is_not_waited_for(api: ScriptedApi, job: JobHandle) -> None:
    api.answers(Reply(404, {"code": "not_found", "detail": "There is no job 'j-1'."}))
    with pytest.raises(NotFound):
        job.wait()


def test_leaving_a_stream_early_closes_its_connection(api: ScriptedApi, job: JobHandle) -> None:
    stop = threading.Event()
    api.answers(_chatter(stop))
    try:
        states = [change.state for change, _ in zip(job.watch(), range(2), strict=False)]
    finally:
        stop.set()
    assert states == [JobState.RUNNING] * 2
    assert vars(job.driver.http._transport)["_pool"].connections == []


def test_metrics_name_the_nearest_when_one_is_missing(api: ScriptedApi, job: JobHandle) -> None:
    series = {"name": "val/accuracy", "last": 0.99, "min": 0.5, "max": 0.99, "points": [[1, 0.5], [2, 0.99]]}
    api.answers(Reply(json=[series]))
    assert job.metrics["val/accuracy"].last == 0.99
    with pytest.raises(KeyError, match="val/accuracy") as missing:
        job.metrics["val/acuracy"]
    assert isinstance(missing.value, NotFound)
    assert missing.value.suggestions == ["val/accuracy"]


def test_a_job_without_a_model_says_how_to_get_one(api: ScriptedApi, job: JobHandle) -> None:
    view = summary("SUCCEEDED") | {"document": {}, "specHash": "a", "workspace": "w", "attempts": [], "model": None}
    api.answers(Reply(json=view))
    with pytest.raises(NotFound, match="outputs"):
        _ = job.model


def test_the_async_handle_waits_and_follows_the_same_way(api: ScriptedApi) -> None:
    accepted = Reply(202, {"id": "j-1", "name": "digits", "state": "QUEUED"})
    lines = event("log", entry(1), "1.1")
    rest = event("log", entry(2), "1.2") + event("end", {})
    done = event("job", SUCCEEDED)
    api.answers(accepted, Reply(chunks=(lines,), cut=True), Reply(chunks=(rest,)), Reply(chunks=(done,)))

    async def follow() -> list[str]:
        async with AsyncClient(api.url, "t") as client:
            handle = await client.jobs.submit({})
            texts = [line.text async for line in handle.logs(follow=True)]
            await handle.wait(timeout=5)
            return [*texts, handle.state]

    assert asyncio.run(follow()) == ["line 1", "line 2", "SUCCEEDED"]
