"""Many pods in flight: one watch, no list for any of them, and a launcher that stays small."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Command
from orchestrator.domain.state import JobState
from tests.acceptance.site import until
from tests.kube.cluster import NAMESPACE
from tests.kube.conftest import Field

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JOBS = 500
MOST_BYTES = 200 * 1024**2


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_five_hundred_pods_cost_one_watch_and_little_memory(field: Field) -> None:
    field.cluster.behaviour.runs = False
    launcher = field.launcher(field.pool("many"), slots=JOBS + 10)
    specs = [Command(name=f"many-{number}", command=("true",), runtime="pod") for number in range(JOBS)]
    jobs = [job for start in range(0, JOBS, 100) for job in field.client.jobs.submit_many(specs[start : start + 100])]
    until(lambda: len(field.cluster.pods()) == JOBS, 300)
    until(lambda: len(field.sql("SELECT FROM jobs WHERE state = 'RUNNING' AND reason = 'pod_starting'")) == JOBS, 120)
    requests = field.cluster.faults.requests
    assert launcher.process is not None
    size = resident_bytes(launcher.process.pid)
    print(f"{size / 1024**2:.0f} MB, {dict(requests)}")  # noqa: T201 - the figures are the point
    assert size < MOST_BYTES
    assert requests["watch pods"] <= 3
    assert requests["list pods"] <= 3
    assert requests["create jobs"] == JOBS
    for pod in field.cluster.pods():
        field.cluster.set_status(pod["metadata"]["name"], phase="Failed", reason="NodeShutdown", message="going")
    until(lambda: {field.view(job).attempts[0].reason for job in jobs[:5]} == {"preempted"}, 60)
    for job in jobs:
        job.cancel()
    until(lambda: not field.sql("SELECT FROM jobs WHERE finished_at IS NULL"), 120)
    assert {field.view(job).state for job in jobs[:5]} == {JobState.CANCELLED}
    until(
        lambda: not [one for one in field.cluster.objects.all("jobs", NAMESPACE) if one["metadata"]["finalizers"]], 120
    )
    assert resident_bytes(launcher.process.pid) < MOST_BYTES
