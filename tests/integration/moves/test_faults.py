"""What dies on the way: the job is either still where it was, or goes on where it was sent; it ends once and right."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import psutil
import pytest

from cloud_adapters.registry import open_store
from orchestrator.domain.ids import decode
from orchestrator.domain.state import JobState
from tests.integration.moves import chain
from tests.integration.moves.clouds import Clouds, Job, until
from tests.storm import processes

STEPS = 300

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


def _service(clouds: Clouds, name: str) -> int:
    return until(lambda: processes.service(clouds.stack, name))


def _kill_service(clouds: Clouds, name: str) -> None:
    os.kill(_service(clouds, name), signal.SIGKILL)


def _kill_worker(clouds: Clouds, cloud: str) -> None:
    clouds.kill_worker(cloud)
    clouds.start_workers(cloud)


def is_right(clouds: Clouds, job: Job, steps: int = STEPS) -> None:
    """The job has ended once, with the result of every step in order, each number logged as it must be."""
    assert clouds.ended(job).state is JobState.SUCCEEDED
    assert clouds.result(job) == chain.after(steps)
    points = job.metrics["step"].points
    assert points == tuple((step, float(step)) for step in range(1, steps + 1))
    assert sum(event.target.terminal for event in job.events()) == 1


def _pause_store(cloud: str) -> None:
    """The store of a cloud answers nobody for a while."""
    command = {"aws": "moto.server", "gcp": "gcp_storage_emulator"}[cloud]
    (server,) = [one for one in psutil.Process().children() if command in one.cmdline()]
    server.suspend()
    threading.Timer(3.0, server.resume).start()


KILLS: dict[str, Callable[[Clouds], None]] = {
    "the worker that it leaves": lambda clouds: _kill_worker(clouds, "aws"),
    "the worker to which it goes": lambda clouds: _kill_worker(clouds, "gcp"),
    "the scheduler": lambda clouds: _kill_service(clouds, "scheduler-1"),
    "the API": lambda clouds: _kill_service(clouds, "api"),
    "not the store, which hangs for a while": lambda _clouds: _pause_store("aws"),
}
first, *others = KILLS


@pytest.mark.parametrize("victim", [first, *(pytest.param(one, marks=pytest.mark.slow) for one in others)])
def test_kill_9_while_a_job_moves(clouds: Clouds, victim: str) -> None:
    jobs = [clouds.grow(f"kill-{number}", ["aws"], steps=STEPS, ballast=1024**2) for number in range(2)]
    for job in jobs:
        clouds.running_on(job, "aws")
        clouds.checkpointed(job)
    jobs[0].migrate("gcp")  # asked, and hardly begun
    KILLS[victim](clouds)
    jobs[1].migrate("gcp")
    until(lambda: clouds.view(jobs[1]).state is not JobState.RUNNING or clouds.view(jobs[1]).pool == "gcp")
    KILLS[victim](clouds)  # about to arrive
    for job in jobs:
        is_right(clouds, job)
        assert clouds.view(job).attempts[-1].pool == "gcp"


def test_a_checkpoint_that_was_uploaded_up_to_any_file_is_never_resumed_from(clouds: Clouds) -> None:
    """A worker dies in the middle of an upload: what lies in the store without a committed row is as if it were not."""
    job = clouds.grow("half", ["aws"], steps=STEPS)
    clouds.running_on(job, "aws")
    clouds.checkpointed(job)
    row = clouds.sql("SELECT workspace_id FROM jobs WHERE id = %s", decode("j", job.id))[0]
    store = open_store(clouds.stores["aws"])
    state = b'{"step": 299, "value": "not what it is"}'
    for number, size in enumerate(range(0, len(state) + 1, 5)):
        prefix = f"artifacts/{row.workspace_id}/{job.id}.1/checkpoints/299-{number:016x}"
        store.put(f"{prefix}/state.json", state[:size])
        if size % 2:  # with a manifest, and still without the row
            store.put(f"{prefix}/manifest.json", b'{"files": []}')
    _kill_worker(clouds, "aws")
    is_right(clouds, job)
    assert (clouds.view(job).attempts[1].resumed_from_step or 0) < 299
