"""A worker that dies, or is taken for dead, costs time and nothing else."""

from __future__ import annotations

import hashlib
import itertools
import signal
from pathlib import Path

import pytest

from orchestrator import Outputs, Train
from orchestrator.domain.state import AttemptState, JobState
from tests.acceptance.site import Job, Site, row_id, until
from tests.storm import audit, processes, workload

pytestmark = pytest.mark.fault

_STEPS = 20


def _result(site: Site, job: Job) -> str:
    [output] = [
        one for one in audit.read(site.stack.database_url).artifacts[row_id(job)] if one.kind == "output"
    ]  # fmt: skip
    return (audit.location(output) / "result").read_text()


def _weights(site: Site, job: Job) -> str:
    [model] = [one for one in audit.read(site.stack.database_url).artifacts[row_id(job)] if one.kind == "model"]
    return hashlib.sha256((audit.location(model) / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that a chain in mid-way waits for: it is never done before its worker is dead."""
    return tmp_path / "gate"


def _chain(site: Site, gate: Path) -> Job:
    """A job that has kept two of its steps and waits with the others."""
    job = site.submit("chain", count=_STEPS, hold=3, gate=str(gate))
    site.running(job, "saved 2")
    return job


def test_kill_9_of_a_worker_resumes_its_job_from_the_last_committed_checkpoint(site: Site, gate: Path) -> None:
    job = _chain(site, gate)
    site.kill(site.worker_of(job))
    until(lambda: site.view(job).epoch >= 2)
    gate.touch()
    [view] = site.ended(job)
    assert view.state is JobState.SUCCEEDED
    assert view.attempts[0].state is AttemptState.LOST
    log = [line for line in job.logs() if line.stream == "stdout"]
    for earlier, later in itertools.pairwise(view.attempts):
        saved = [int(line.text.split()[1]) for line in log if line.epoch == earlier.epoch and "saved" in line.text]
        assert later.resumed_from_step is not None
        assert later.resumed_from_step >= max(saved, default=0)
        [begun] = [line.text for line in log if line.epoch == later.epoch and line.text.startswith("begin")]
        assert begun == f"begin after {later.resumed_from_step}"
    assert _result(site, job) == workload.chain_of(_STEPS)


@pytest.mark.timeout(600)
def test_a_training_whose_worker_is_killed_ends_with_the_same_weights_bit_for_bit(site: Site) -> None:
    def train(name: str) -> Job:
        return site.client.jobs.submit(
            Train(name=name, workload="image-classifier", dataset="builtin://digits", outputs=Outputs(model=name))
        )

    disturbed = train("disturbed")
    checkpoints = "SELECT FROM artifacts WHERE job_id = %s AND kind = 'checkpoint'"
    until(lambda: len(site.sql(checkpoints, row_id(disturbed))) >= 2)
    site.kill(site.worker_of(disturbed))
    undisturbed = train("undisturbed")
    disturbed.wait(timeout=270)
    undisturbed.wait(timeout=270)
    assert len(site.view(disturbed).attempts) >= 2
    assert all(attempt.resumed_from_step for attempt in site.view(disturbed).attempts[1:])
    assert _weights(site, disturbed) == _weights(site, undisturbed)


def test_kill_9_of_the_users_process_is_tried_again(site: Site) -> None:
    job = site.submit("stay_once")
    assert processes.send(site.pid_told_by(job), signal.SIGKILL)
    [view] = site.ended(job)
    assert view.state is JobState.SUCCEEDED
    assert view.attempts[0].reason == "killed"
    assert "SIGKILL" in view.attempts[0].message


def test_a_worker_that_sleeps_through_its_lease_has_no_effect_when_it_wakes(site: Site, gate: Path) -> None:
    job = _chain(site, gate)
    name = site.worker_of(job)
    sleeper = site.service(name)
    assert processes.send(sleeper, signal.SIGSTOP)
    try:
        until(lambda: site.view(job).epoch >= 2 and site.view(job).state is JobState.RUNNING)
        assert site.worker_of(job) != name
    finally:
        assert processes.send(sleeper, signal.SIGCONT)
    gate.touch()
    [view] = site.ended(job)
    assert view.state is JobState.SUCCEEDED
    assert view.attempts[0].reason == "lease_lost"
    assert site.service(name) == sleeper, "it goes on as a good worker"
    assert _result(site, job) == workload.chain_of(_STEPS)


def test_a_job_that_kills_its_worker_three_times_is_quarantined_and_the_others_proceed(site: Site) -> None:
    killer = site.submit("kill_worker")
    others = [site.submit("lines", count=20, pause=0.1) for _ in range(6)]
    [view] = site.ended(killer)
    assert (view.state, view.reason) == (JobState.FAILED, "quarantined")
    assert len(view.attempts) == 3
    assert {attempt.state for attempt in view.attempts} == {AttemptState.LOST}
    for other in site.ended(*others):
        # Whoever shared a worker with it may have died as often: then it had the same right to be quarantined.
        assert other.state is JobState.SUCCEEDED or len(other.attempts) == 3
    after = site.submit("lines", count=1)
    after.wait(timeout=120)


def test_drain_moves_work_to_another_worker(site: Site, gate: Path) -> None:
    job = _chain(site, gate)
    name = site.worker_of(job)
    before = site.service(name)
    [worker] = [one for one in site.client.workers.list() if one.name == name.replace("worker", "local")]
    site.client.workers.drain(worker.id)
    until(lambda: site.view(job).epoch >= 2)
    gate.touch()
    [view] = site.ended(job)
    assert view.state is JobState.SUCCEEDED
    assert view.attempts[0].state is AttemptState.PREEMPTED
    assert view.attempts[1].worker != worker.name
    assert view.attempts[1].resumed_from_step
    assert _result(site, job) == workload.chain_of(_STEPS)
    site.restarted(name, before)
