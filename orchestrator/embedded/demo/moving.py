"""A classifier is trained in one cloud and goes on in another while it trains, with the weights of one that stayed."""

from __future__ import annotations

import hashlib
import time

from orchestrator import Outputs, Placement, Train
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import JobView
from orchestrator.embedded.demo.site import PATIENCE_SECONDS, WEIGHTS, Fact, Site
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle

SOURCE, TARGET = Cloud.AWS, Cloud.GCP
_NAME = "digits-cnn-moved"


def run(site: Site) -> list[Fact]:
    """Train in `SOURCE`, send the job to `TARGET` once it has a checkpoint, and wait for its model."""
    spec = Train(
        name=_NAME,
        workload="image-classifier",
        dataset="builtin://digits",
        placement=Placement(clouds=(SOURCE,)),
        outputs=Outputs(model=_NAME),
    )
    job = site.client.jobs.submit(spec)
    site.console.print(f"Submitted [bold]{job.id}[/] ({_NAME}) to {SOURCE}")
    _until_checkpointed(job)
    move = job.migrate(TARGET)
    site.console.print(f"→ {job.id} migrates {move.source} → {move.target} while it trains: {move.message}")
    job.wait(progress=True, timeout=PATIENCE_SECONDS)
    weights = hashlib.sha256((job.model.download(site.folder / _NAME) / WEIGHTS).read_bytes()).hexdigest()
    view = job.refresh().view
    assert isinstance(view, JobView), "a refreshed job has its attempts"
    first, last = view.attempts[0], view.attempts[-1]
    away = "" if view.interruption_seconds is None else f", {view.interruption_seconds:.1f} s away"
    found = f"{first.pool} → {last.pool}, resumed from step {last.resumed_from_step}{away}"
    return [
        Fact("moved while it trained", found, first.pool != last.pool and last.resumed_from_step is not None),
        Fact("the same weights as without the move", f"SHA-256 {weights[:16]}…", weights == site.weights),
    ]


def _until_checkpointed(job: JobHandle[Sync]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not job.artifacts:
        if job.refresh().state.terminal or time.monotonic() > deadline:
            raise NeutrinoError(f"{job.id} published no checkpoint ({job.state}).")
        time.sleep(0.05)
