"""Celery and Redis are a doorbell. Messages may be lost, doubled or late, and Redis may be away: no job minds."""

from __future__ import annotations

import signal

import pytest
from redis import Redis

from orchestrator import Command
from orchestrator.broker import Doorbell, celery_app
from orchestrator.domain.state import JobState
from tests.acceptance.site import Job, Site, row_id, until
from tests.storm import processes

pytestmark = pytest.mark.fault

_NOTHING = Command(name="nothing", entrypoint="gc:enable")


def _flushed_in_mid_work(site: Site) -> list[Job]:
    """A thousand jobs whose bells were thrown away while they worked; none when all had ended by then."""
    jobs = site.client.jobs.submit_many([_NOTHING] * 1000)
    unfinished = "SELECT FROM jobs WHERE id >= %s AND finished_at IS NULL LIMIT 1"
    with Redis.from_url(site.stack.redis_url) as redis:
        redis.flushall()
        return jobs if site.sql(unfinished, row_id(jobs[0])) else []


def test_flushall_with_a_thousand_queued_loses_none(site: Site) -> None:
    jobs = until(lambda: _flushed_in_mid_work(site))
    assert site.ends(*jobs) == {JobState.SUCCEEDED: 1000}


def test_a_submit_while_redis_is_down_is_accepted_and_runs_later(site: Site) -> None:
    redis = site.service("redis")
    assert processes.send(redis, signal.SIGSTOP)  # worse than dead: connections open and nothing answers
    try:
        stuck = site.client.jobs.submit(_NOTHING)
        assert stuck.state is JobState.QUEUED
    finally:
        assert processes.send(redis, signal.SIGCONT)
    assert processes.send(redis, signal.SIGKILL)
    dead = site.client.jobs.submit(_NOTHING)
    assert dead.state is JobState.QUEUED
    assert {view.state for view in site.ended(stuck, dead)} == {JobState.SUCCEEDED}
    site.restarted("redis", redis)


def test_a_doorbell_delivered_a_hundred_times_runs_a_job_once(site: Site) -> None:
    doorbell = Doorbell(celery_app(site.stack.redis_url))
    job = site.submit("lines", count=5)
    for _ in range(100):
        doorbell.ring_pool("local", [job.id])
    [view] = site.ended(job)
    doorbell.ring_pool("local", [job.id], times=100)
    until(lambda: _unheard(site) == 0)
    assert [attempt.state for attempt in site.view(job).attempts] == ["SUCCEEDED"]
    assert view.state is JobState.SUCCEEDED
    doorbell.close()


def _unheard(site: Site) -> int:
    with Redis.from_url(site.stack.redis_url) as redis:
        return sum(redis.llen(key) for key in redis.keys("neutrino:*pool.local*") if redis.type(key) == b"list")
