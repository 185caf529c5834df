"""Jobs that take too much, say too much or will not stop harm nobody but themselves."""

from __future__ import annotations

import pytest

from orchestrator import Command, Resources
from orchestrator.domain.protocol import MAX_LINE
from orchestrator.domain.state import JobState
from tests.acceptance.site import Job, Site
from tests.storm import processes

pytestmark = pytest.mark.fault


@pytest.fixture
def neighbour(site: Site) -> Job:
    """An innocent job that runs beside the culprit."""
    return site.submit("lines", count=30, pause=0.05)


def _unharmed(site: Site, neighbour: Job) -> None:
    [view] = site.ended(neighbour)
    assert view.state is JobState.SUCCEEDED
    lines = [line.text for line in neighbour.logs() if line.epoch == view.epoch and line.stream == "stdout"]
    assert lines == [f"line {number}" for number in range(30)]


def test_too_much_memory_is_oom_and_not_tried_again(site: Site, neighbour: Job) -> None:
    hog = "import time; hog = bytearray(300 << 20); time.sleep(60)"
    job = site.run("python", "-c", hog, resources=Resources(memory=100 << 20))
    [view] = site.ended(job)
    assert (view.state, view.reason) == (JobState.FAILED, "oom")
    assert len([attempt for attempt in view.attempts if attempt.reason == "oom"]) == 1
    assert "100Mi" in view.message
    _unharmed(site, neighbour)


def test_a_fork_bomb_is_caught_whole(site: Site, neighbour: Job) -> None:
    # 400 at most, also if nothing caught it; the worker allows 128.
    bomb = "import os, time\nfor _ in range(400):\n    if os.fork() == 0: time.sleep(60); os._exit(0)\ntime.sleep(60)"
    job = site.client.jobs.submit(Command(name="bomb", command=("python", "-c", bomb), timeout=120))
    [view] = site.ended(job)
    assert (view.state, view.reason) == (JobState.FAILED, "user_error")
    assert "Too many processes" in view.message
    assert not [words for words in processes.left_behind(site.stack.data_dir) if "range(400)" in words]
    _unharmed(site, neighbour)


def test_a_line_of_100_megabytes_is_cut_and_says_so(site: Site, neighbour: Job) -> None:
    code = "import sys\nfor _ in range(100): sys.stdout.write('x' * (1 << 20))\nprint(); print('after')"
    job = site.run("python", "-c", code)
    [view] = site.ended(job)
    assert view.state is JobState.SUCCEEDED
    first, *_, last = [line.text for line in job.logs() if line.epoch == view.epoch and line.stream == "stdout"]
    assert len(first) <= MAX_LINE + 64
    assert first.startswith("x" * 1000)
    assert last == "after"
    _unharmed(site, neighbour)


def test_a_job_that_ignores_sigterm_is_cancelled_all_the_same(site: Site) -> None:
    job = site.run("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
    site.running(job, "deaf")
    assert job.cancel().state is JobState.CANCELLING
    [view] = site.ended(job)
    assert view.state is JobState.CANCELLED
    assert not [words for words in processes.left_behind(site.stack.data_dir) if "echo deaf" in words]


def test_a_timeout_is_the_jobs_own_fault(site: Site) -> None:
    job = site.run("sleep", "60", timeout=1)
    [view] = site.ended(job)
    assert (view.state, view.reason) == (JobState.FAILED, "timeout")
