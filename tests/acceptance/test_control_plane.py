"""The parts of the control plane die at the worst moments; what was accepted is done, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from orchestrator import Command
from orchestrator.domain.state import JobState
from tests.acceptance.site import Job, Site, until
from tests.storm import processes

pytestmark = pytest.mark.fault

_NOTHING = Command(name="nothing", entrypoint="gc:enable")


def _http(site: Site) -> httpx.Client:
    """The API without the SDK, which would try again: every answer counts here."""
    headers = {"Authorization": f"Bearer {site.stack.admin_token}"}
    return httpx.Client(base_url=site.stack.url, headers=headers, timeout=120, trust_env=False)


def test_kill_9_of_the_database_is_never_a_false_202(site: Site) -> None:
    accepted: list[str] = []
    statuses: Counter[int] = Counter()
    back = threading.Event()

    def submit(client: httpx.Client) -> None:
        while not back.is_set():
            key = {"Idempotency-Key": str(uuid.uuid4())}
            answer = client.post("/v1/jobs", json=_NOTHING.document(), headers=key)
            statuses[answer.status_code] += 1
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])

    with _http(site) as client, ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(submit, client) for _ in range(4)]
        try:
            until(lambda: len(accepted) > 40)
            site.kill("postgres")
            until(lambda: statuses[503])
            seen = len(accepted)
            until(lambda: len(accepted) > seen + 20)
        finally:
            back.set()
        for one in clients:
            one.result()
    assert set(statuses) == {202, 503}
    jobs = [site.client.jobs.get(job) for job in accepted]
    assert site.ends(*jobs) == {JobState.SUCCEEDED: len(set(accepted))}
    assert len(set(accepted)) == len(accepted)


def test_schedulers_killed_between_commit_and_bell_lose_nothing(site: Site) -> None:
    redis = site.service("redis")
    assert processes.send(redis, signal.SIGSTOP)  # so that no bell can leave
    try:
        job = site.client.jobs.submit(_NOTHING)
        until(lambda: job.refresh().state is not JobState.QUEUED)
        schedulers = {name: site.service(name) for name in processes.services(site.stack, "scheduler")}
        site.kill(*schedulers)
    finally:
        assert processes.send(redis, signal.SIGCONT)
    assert [view.state for view in site.ended(job)] == [JobState.SUCCEEDED]
    for name, before in schedulers.items():
        site.restarted(name, before)


def test_schedulers_that_die_while_jobs_flow_lose_nothing(site: Site) -> None:
    jobs: list[Job] = []
    for _ in range(4):
        jobs += site.client.jobs.submit_many([_NOTHING] * 50)
        site.kill("scheduler-1", "scheduler-2")
    assert site.ends(*jobs) == {JobState.SUCCEEDED: 200}


def _accepted(client: httpx.Client, body: dict[str, Any], key: dict[str, str]) -> str:
    """The id of the accepted job; empty when nobody answered or the answer was to come again."""
    try:
        answer = client.post("/v1/jobs", json=body, headers=key)
    except httpx.TransportError:
        return ""
    assert answer.status_code in {202, 503}
    return str(answer.json()["id"]) if answer.status_code == 202 else ""


def test_an_api_that_dies_in_mid_submit_is_asked_again_and_accepts_once(site: Site) -> None:
    def submit(number: int) -> str:
        body = Command(name=f"once-{os.getpid()}-{number}", entrypoint="gc:enable").document()
        key = {"Idempotency-Key": str(uuid.uuid4())}
        return until(lambda: _accepted(client, body, key))

    before = site.service("api")
    with _http(site) as client, ThreadPoolExecutor(8) as pool:
        submitted = [pool.submit(submit, number) for number in range(60)]
        until(lambda: any(one.done() for one in submitted))
        assert processes.send(before, signal.SIGKILL)
        jobs = [site.client.jobs.get(one.result()) for one in submitted]
    site.restarted("api", before)
    assert site.ends(*jobs) == {JobState.SUCCEEDED: 60}
    names = site.sql("SELECT name, count(*) AS n FROM jobs WHERE name LIKE %s GROUP BY name", f"once-{os.getpid()}-%")
    assert {row.n for row in names} == {1}
    assert len(names) == 60


def test_fifty_submits_with_one_idempotency_key_are_one_job(site: Site) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = Command(name="fifty", entrypoint="gc:enable").document()
    with _http(site) as client, ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=body, headers=key), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    [job] = {answer.json()["id"] for answer in answers}
    assert len(site.sql("SELECT FROM jobs WHERE name = 'fifty'")) == 1
    assert [view.state for view in site.ended(site.client.jobs.get(job))] == [JobState.SUCCEEDED]
