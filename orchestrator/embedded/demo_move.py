"""A step of the demo: a classifier is trained in one cloud and goes on in another while it trains."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator import Client, Outputs, Placement, Train
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.spec import Cloud
from orchestrator.domain.state import Reason
from orchestrator.domain.views import JobView
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle

WEIGHTS = "model.safetensors"
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Moved:
    """The job, which has ended, with its attempts; the SHA-256 of its weights, and how long it was away."""

    job: JobHandle[Sync]
    view: JobView
    weights: str
    away_seconds: float | None


def train_and_move(
    client: Client,
    console: Console,
    folder: Path,
    *,
    source: Cloud = Cloud.AWS,
    target: Cloud = Cloud.GCP,
    name: str = "digits-cnn-moved",
) -> Moved:
    """Train the digits in `source`, send the job to `target` once it has a checkpoint, and wait for its model. Raises
    JobFailed and WaitTimeout."""
    spec = Train(
        name=name,
        workload="image-classifier",
        dataset="builtin://digits",
        placement=Placement(clouds=(source,)),
        outputs=Outputs(model=name),
    )
    job = client.jobs.submit(spec)
    console.print(f"Submitted [bold]{job.id}[/] ({name}) to {source}")
    _until_checkpointed(job)
    view = job.migrate(target)
    console.print(f"→ {job.id} migrates {view.source} → {view.target} while it trains: {view.message}")
    job.wait(progress=True, timeout=_PATIENCE_SECONDS)
    downloaded = job.model.download(folder / name)
    digest = hashlib.sha256((downloaded / WEIGHTS).read_bytes()).hexdigest()
    ended = job.refresh().view
    assert isinstance(ended, JobView), "a refreshed job has its attempts"
    return Moved(job, ended, digest, ended.interruption_seconds)


def _until_checkpointed(job: JobHandle[Sync]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not job.artifacts:
        if job.refresh().state.terminal or time.monotonic() > deadline:
            raise NeutrinoError(f"{job.id} published no checkpoint ({job.state}).")
        time.sleep(0.05)


def faults(moved: Moved, undisturbed_weights: str) -> list[str]:
    """What did not happen as it should have; `undisturbed_weights` are those of the same training left alone."""
    attempts = moved.view.attempts
    facts = {
        "the job was not moved": len(attempts) >= 2 and attempts[0].pool != attempts[-1].pool,
        "it was not stopped for that": any(one.reason == Reason.MIGRATING for one in attempts),
        "it did not resume from its checkpoint": attempts[-1].resumed_from_step is not None,
        "the weights differ from those of the undisturbed training": moved.weights == undisturbed_weights,
    }
    return [fault for fault, fine in facts.items() if not fine]
