"""Jobs that go from cloud to cloud while they run, and moves that are refused."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Command, Placement, Resources
from orchestrator.domain.errors import Conflict, InvalidSpec, NoPlace, NotFound, PermissionDenied
from orchestrator.domain.ids import decode
from orchestrator.domain.state import AttemptState, JobState
from orchestrator.domain.views import CreatePool, CreateToken
from orchestrator.sdk.client import Client
from tests.integration.moves.clouds import Clouds, Job

ALL_WAYS = ("aws", "gcp", "azure", "aws", "azure", "gcp", "aws")  # each of the six directions once
EPOCHS = 40


def _weights(job: Job, folder: Path) -> str:
    downloaded = job.model.download(folder / job.id)
    return hashlib.sha256((downloaded / "model.safetensors").read_bytes()).hexdigest()


def _numbers(job: Job) -> dict[str, Any]:
    """What the training has logged, without what differs from run to run: times, and what the worker measured."""
    return {
        name: one.points for name, one in job.metrics.items() if name != "epoch_seconds" and not name.startswith("sys/")
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ways", [ALL_WAYS[:3], pytest.param(ALL_WAYS, marks=pytest.mark.slow)], ids=["two", "six"])
def test_a_training_that_goes_from_cloud_to_cloud_ends_as_if_nothing_had_happened(
    clouds: Clouds, tmp_path: Path, ways: tuple[str, ...]
) -> None:
    still = clouds.train("still", ["azure"], EPOCHS)
    moved = clouds.train("moved", ["aws"], EPOCHS)
    for here, there in itertools.pairwise(ways):
        clouds.at_work(moved, clouds.running_on(moved, here).epoch)
        moved.migrate(there)
    assert clouds.ended(still).state == clouds.ended(moved).state == JobState.SUCCEEDED
    assert _weights(moved, tmp_path) == _weights(still, tmp_path)
    assert _numbers(moved) == _numbers(still)
    attempts = clouds.view(moved).attempts
    assert [one.pool for one in attempts] == list(ways)
    assert [one.state for one in attempts[:-1]] == [AttemptState.PREEMPTED] * (len(ways) - 1)
    steps = [one.resumed_from_step or 0 for one in attempts[1:]]
    assert steps[0] > 0
    assert steps == sorted(set(steps))
    # A checkpoint is saved by the step at which the attempt stopped, so that no epoch is logged by two of them.
    repeated = """
        SELECT name, step FROM metrics WHERE job_id = %s AND NOT starts_with(name, 'sys/')
        GROUP BY 1, 2 HAVING count(*) > 1
    """
    assert clouds.sql(repeated, decode("j", moved.id)) == []
    ends = [event for event in moved.events() if event.target.terminal]
    assert len(ends) == 1
    spent = clouds.sql(
        "SELECT user_failures, infra_failures, preemptions FROM jobs WHERE id = %s", decode("j", moved.id)
    )
    assert tuple(spent[0]) == (0, 0, 0)


def test_what_stays_the_same_goes_ahead_while_the_job_runs_on(clouds: Clouds) -> None:
    job = clouds.grow("ahead", ["aws"], steps=1_000_000, every=1_000_000, frozen=4 * 1024**2)
    clouds.running_on(job, "aws")
    for times in (1, 2):  # asked for, so that they stay
        job.checkpoint()
        clouds.checkpointed(job, times)
    plan = job.migrate("gcp", dry_run=True)
    assert plan.bytes_ahead > 4 * 1024**2
    assert plan.bytes_to_move - plan.bytes_ahead < 1000
    assert "go ahead, and it runs on meanwhile" in job.migrate("gcp").message
    clouds.at_work(job, clouds.running_on(job, "gcp").epoch)
    (copy,) = clouds.sql("SELECT state, user_name FROM jobs WHERE name = %s", f"ahead-{job.id}")
    assert (copy.state, copy.user_name) == ("SUCCEEDED", "neutrino")
    said = [event.message for event in job.events() if event.reason == "migrating"]
    assert any(text.startswith("What went ahead to gcp has arrived") for text in said)
    job.cancel()
    assert clouds.ended(job).state is JobState.CANCELLED


def test_moves_that_cannot_be_are_refused_before_anything_changes(clouds: Clouds) -> None:
    job = clouds.grow("refused", ["aws"], steps=100_000)
    clouds.running_on(job, "aws")
    before = clouds.sql("SELECT * FROM jobs WHERE id = %s", decode("j", job.id))
    with pytest.raises(InvalidSpec, match=r"'gpc' is not a cloud\. Did you mean 'gcp'"):
        job.migrate("gpc")
    with pytest.raises(Conflict, match="runs on aws already"):
        job.migrate("aws")
    with pytest.raises(NoPlace, match="local: fits, but no worker is online") as caught:
        job.migrate("local")
    assert {"pool": "local", "verdict": "fits, but no worker is online"} in caught.value.attempts
    with pytest.raises(NotFound):
        clouds.client.jobs.get(job.id).__class__(job.driver, job.view.model_copy(update={"id": "j-zzzzz"})).migrate(
            "gcp"
        )
    token = clouds.client.tokens.create(CreateToken(name="looks", user="eve", role="viewer")).token
    with Client(clouds.stack.url, token) as viewer, pytest.raises(PermissionDenied):
        viewer.jobs.get(job.id).migrate("gcp")
    assert clouds.sql("SELECT * FROM jobs WHERE id = %s", decode("j", job.id)) == before
    job.cancel()
    assert clouds.ended(job).state == JobState.CANCELLED
    with pytest.raises(Conflict, match="has finished"):
        job.migrate("gcp")


def test_a_store_that_lets_nobody_in_stops_the_move_and_not_the_job(clouds: Clouds) -> None:
    clouds.sql("UPDATE pools SET store = replace(store, 'neutrino', 'no-such-bucket') WHERE name = 'azure'")
    job = clouds.grow("no-entry", ["aws"], steps=100)
    try:
        clouds.running_on(job, "aws")
        with pytest.raises(Conflict, match=r"its store .* cannot be used"):
            job.migrate("azure")
    finally:
        clouds.sql("UPDATE pools SET store = %s WHERE name = 'azure'", clouds.stores["azure"])
    assert clouds.ended(job).state == JobState.SUCCEEDED
    assert [one.pool for one in clouds.view(job).attempts] == ["aws"]


def test_of_two_moves_at_once_one_is_made(clouds: Clouds) -> None:
    # Deaf to being asked, so that it is on its way for as long as the drain lasts.
    job = clouds.client.jobs.submit(
        Command(name="deaf", command=("sh", "-c", "trap '' TERM; sleep 3"), placement=Placement(clouds=["aws"]))
    )
    clouds.running_on(job, "aws")
    job.migrate("gcp")
    with pytest.raises(Conflict, match="on its way to gcp already"):
        job.migrate("azure")
    assert clouds.ended(job).attempts[-1].pool == "gcp"


def test_a_job_that_has_not_begun_goes_elsewhere_at_once(clouds: Clouds) -> None:
    gpu = Resources(gpu="T4:1")
    clouds.client.pools.create(CreatePool(name="gpus", cloud="azure", gpu="T4:1", store=clouds.stores["azure"]))
    waiting = clouds.client.jobs.submit(Command(name="waits", command=("true",), resources=gpu))
    with pytest.raises(NoPlace, match="gpus: fits, but no worker is online"):
        waiting.migrate("azure")
    waiting.cancel()
    job = clouds.client.jobs.submit(Command(name="elsewhere", command=("true",), placement=Placement(clouds=["local"])))
    assert "no worker" in job.why().message
    view = job.migrate("gcp")
    assert (view.source, view.target, view.bytes_to_move) == (None, "gcp", 0)
    ended = clouds.ended(job)
    assert [one.pool for one in ended.attempts] == ["gcp"]
    assert ended.moved_to == "gcp"
    assert "moved_to" not in str(ended.document)


def test_a_checkpoint_on_request_and_what_a_move_would_carry(clouds: Clouds) -> None:
    job = clouds.grow("asked", ["aws"], steps=100_000, every=100_000)
    clouds.running_on(job, "aws")
    job.checkpoint()
    clouds.checkpointed(job)
    plan = job.migrate("gcp", dry_run=True)
    assert plan.step is not None
    assert 0 < plan.bytes_to_move < 1000
    assert 0 < plan.egress_usd < 0.001
    why = job.why()
    moving = {one.pool: (one.bytes_to_move, one.egress_usd) for one in why.considered}
    assert moving["aws"] == (0, 0)
    assert moving["gcp"] == (plan.bytes_to_move, plan.egress_usd)
    said = clouds.neutrino("migrate", "job", job.id, "--to", "gcp", "--dry-run")
    assert said.splitlines()[0] == f"{job.id}  aws → gcp (pool gcp)"
    assert "to move for $0.00; away for about 3s" in said
    assert "to move for $0.00" in next(one.verdict for one in plan.considered if one.pool == "gcp")
    assert "  aws    fits, 1 of 2 slots free\n" in clouds.neutrino("why", job.id)
    assert len(clouds.view(job).attempts) == 1, "a checkpoint interrupts nothing"
    job.cancel()
    assert clouds.ended(job).state is JobState.CANCELLED
    with pytest.raises(Conflict, match="only a running job"):
        job.checkpoint()
