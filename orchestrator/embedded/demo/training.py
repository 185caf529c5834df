"""A real classifier is trained twice: once undisturbed, and once with a `kill -9` of its worker while it trains.

The second one must resume from its last checkpoint and end with the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator import Outputs, Placement, Train
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import AttemptView, JobView
from orchestrator.embedded.demo.site import PATIENCE_SECONDS, WEIGHTS, Fact, Site
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle
from orchestrator.sdk.models import ModelVersion

HOME = Cloud.AWS
_KILL_AFTER_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished job, its model, and the SHA-256 of the weights that were downloaded."""

    job: JobHandle[Sync]
    model: ModelVersion[Sync]
    weights: str
    seconds: float


def run(site: Site) -> list[Fact]:
    """Train both; the disturbed one's model is what later steps go on with."""
    undisturbed = _train(site, "digits-cnn")
    with _killer(site):
        disturbed = _train(site, "digits-cnn-disturbed")
    site.model, site.weights = disturbed.model, disturbed.weights
    attempts = _attempts(disturbed)
    accuracy = undisturbed.model.metrics.get("test/accuracy", 0.0)
    return [
        Fact("trained undisturbed on aws", f"accuracy {accuracy:.4f}, {undisturbed.seconds:.1f} s", accuracy >= 0.985),
        Fact(
            "trained once more, its worker killed",
            f"{len(attempts)} attempts: {', '.join(one.state for one in attempts)}, {disturbed.seconds:.1f} s",
            len(attempts) >= 2,
        ),
        Fact(
            "resumed from its last checkpoint",
            f"of step {attempts[-1].resumed_from_step}",
            attempts[-1].resumed_from_step is not None,
        ),
        Fact(
            "the same weights, bit for bit",
            f"SHA-256 {disturbed.weights[:16]}…",
            undisturbed.weights == disturbed.weights,
        ),
    ]


def _train(site: Site, name: str) -> Trained:
    began = time.monotonic()
    job = site.client.jobs.submit(
        Train(
            name=name,
            workload="image-classifier",
            dataset="builtin://digits",
            outputs=Outputs(model=name),
            placement=Placement(clouds=(HOME,)),
        )
    )
    site.console.print(f"Submitted [bold]{job.id}[/] ({name})")
    job.wait(progress=True, timeout=PATIENCE_SECONDS)
    model = job.model
    downloaded = model.download(site.folder / name)
    digest = hashlib.sha256((downloaded / WEIGHTS).read_bytes()).hexdigest()
    return Trained(job, model, digest, time.monotonic() - began)


@contextmanager
def _killer(site: Site) -> Iterator[None]:
    """Meanwhile, kill the worker as soon as the job that runs has published some checkpoints."""
    over = threading.Event()
    thread = threading.Thread(target=_kill_worker, args=(site, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _kill_worker(site: Site, over: threading.Event) -> None:
    while not over.wait(0.05):
        running = next(iter(site.client.jobs.list(state="RUNNING", limit=1)), None)
        if running is None or len(running.artifacts) < _KILL_AFTER_CHECKPOINTS:
            continue
        worker = next(child for child in site.stack.status().children if child.name == f"worker-{HOME}")
        if worker.running is not None:
            pid = worker.running.identity.pid
            os.kill(pid, signal.SIGKILL)
            site.console.print(f"✗ kill -9 of the worker (process {pid}) while {running.id} trains", style="red")
        return


def _attempts(trained: Trained) -> tuple[AttemptView, ...]:
    view = trained.job.refresh().view
    assert isinstance(view, JobView), "a refreshed job has its attempts"
    return view.attempts
