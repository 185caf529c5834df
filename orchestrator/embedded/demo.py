"""`neutrino demo`: the main job, through the whole system, with its worker killed in the middle.

A real classifier is trained on scikit-learn's digits twice: once undisturbed, and once with a `kill -9` of its worker
while it trains. The second one must resume from its last checkpoint and end with the same weights, bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator import Client, Outputs, Train
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.views import AttemptView, JobView
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle
from orchestrator.sdk.models import ModelVersion

WEIGHTS = "model.safetensors"
_KILL_AFTER_CHECKPOINTS = 2
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished job, its model, and the SHA-256 of the weights that were downloaded."""

    job: JobHandle[Sync]
    model: ModelVersion[Sync]
    weights: str
    seconds: float


def main(*, keep: bool = False) -> int:
    """Run the demonstration; 0 only if all of it happened. With `keep`, the stack stays up until Ctrl-C."""
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="neutrino-demo-"))
    folder.chmod(0o711)  # Postgres may run as another account and has to pass through
    began = time.monotonic()
    try:
        console.print("[bold]Neutrino demo[/]: Postgres, Redis, API, two schedulers, one worker …")
        with Stack(folder) as stack:
            console.print(f"✓ Up at {stack.url} after {time.monotonic() - began:.1f} s", style="green")
            with Client(url=stack.url, token=stack.admin_token) as client:
                undisturbed = _train(client, console, "digits-cnn", folder)
                with _killer(stack, client, console):
                    disturbed = _train(client, console, "digits-cnn-disturbed", folder)
                faults = _check(undisturbed, disturbed)
                _show(undisturbed, disturbed, faults, time.monotonic() - began)
            if keep and not faults:
                _wait(stack, console)
        return 1 if faults else 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _train(client: Client, console: Console, name: str, folder: Path) -> Trained:
    began = time.monotonic()
    spec = Train(name=name, workload="image-classifier", dataset="builtin://digits", outputs=Outputs(model=name))
    job = client.jobs.submit(spec)
    console.print(f"Submitted [bold]{job.id}[/] ({name})")
    job.wait(progress=True, timeout=_PATIENCE_SECONDS)
    model = job.model
    if model is None:
        raise NeutrinoError(f"{job.id} succeeded but has registered no model.")
    downloaded = model.download(folder / name)
    digest = hashlib.sha256((downloaded / WEIGHTS).read_bytes()).hexdigest()
    return Trained(job, model, digest, time.monotonic() - began)


@contextmanager
def _killer(stack: Stack, client: Client, console: Console) -> Iterator[None]:
    """Meanwhile, kill the worker as soon as the job that runs has published some checkpoints."""
    over = threading.Event()
    thread = threading.Thread(target=_kill_worker, args=(stack, client, console, over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _kill_worker(stack: Stack, client: Client, console: Console, over: threading.Event) -> None:
    while not over.wait(0.05):
        running = next(iter(client.jobs.list(state="RUNNING", limit=1)), None)
        if running is None or len(running.artifacts) < _KILL_AFTER_CHECKPOINTS:
            continue
        worker = next(child for child in stack.status().children if child.name.startswith("worker"))
        if worker.running is not None:
            pid = worker.running.identity.pid
            os.kill(pid, signal.SIGKILL)
            console.print(f"✗ kill -9 of the worker (process {pid}) while {running.id} trains", style="red")
        return


def _attempts(trained: Trained) -> tuple[AttemptView, ...]:
    view = trained.job.refresh().view
    assert isinstance(view, JobView), "a refreshed job has its attempts"
    return view.attempts


def _check(undisturbed: Trained, disturbed: Trained) -> list[str]:
    """What did not happen as it should have."""
    attempts = _attempts(disturbed)
    facts = {
        "the disturbed job was not interrupted": len(attempts) >= 2,
        "the second attempt did not resume from a checkpoint": attempts[-1].resumed_from_step is not None,
        "the weights differ": undisturbed.weights == disturbed.weights,
        "the test accuracy is below 0.985": undisturbed.model.metrics.get("test/accuracy", 0.0) >= 0.985,
    }
    return [fault for fault, fine in facts.items() if not fine]


def _show(undisturbed: Trained, disturbed: Trained, faults: list[str], seconds: float) -> None:
    table = Table(title="What happened", title_justify="left")
    for column in ("", undisturbed.job.id, disturbed.job.id):
        table.add_column(column)
    attempts = _attempts(disturbed)
    resumed = attempts[-1].resumed_from_step
    rows: list[tuple[str, str, str]] = [
        ("attempts", "1", f"{len(attempts)}: {', '.join(one.state for one in attempts)}"),
        ("resumed from", "", f"checkpoint of step {resumed}"),
        ("model", undisturbed.model.ref, disturbed.model.ref),
        ("test accuracy", _metric(undisturbed, "test/accuracy"), _metric(disturbed, "test/accuracy")),
        ("test F1", _metric(undisturbed, "test/f1"), _metric(disturbed, "test/f1")),
        ("SHA-256 of the weights", undisturbed.weights[:16] + "…", disturbed.weights[:16] + "…"),
        ("seconds", f"{undisturbed.seconds:.1f}", f"{disturbed.seconds:.1f}"),
    ]
    for row in rows:
        table.add_row(*row)
    out = Console()
    out.print(table)
    if faults:
        out.print("✗ " + "; ".join(faults), style="red")
    else:
        out.print(f"✓ Same weights, bit for bit, although the worker died. {seconds:.0f} s in all.", style="green")


def _metric(trained: Trained, name: str) -> str:
    value = trained.model.metrics.get(name)
    return "" if value is None else f"{value:.4f}"


def _wait(stack: Stack, console: Console) -> None:
    console.print(f"The API stays up at {stack.url}; Ctrl-C stops it. In another terminal:")
    console.print(f"  export NEUTRINO_API_URL={stack.url} NEUTRINO_TOKEN={stack.admin_token}")
    console.print("  neutrino ps; neutrino model list")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Stopping.")
