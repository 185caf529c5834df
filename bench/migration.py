"""How long a job is away when it moves to another cloud: against the time to copy its checkpoint, and with a standby.

    python -m bench.migration --megabytes 64

On a stack of its own, with a store of each cloud's protocol on this machine (the emulators of the tests, so seconds are
theirs; the ratios are what counts). `away` is from the last step that the job logs here to the first one there, as the
job itself sees it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure, show
from cloud_adapters.base import MIB
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import transfer
from orchestrator.domain.ids import decode
from tests.integration.moves.clouds import Clouds, Job, three_clouds, until

_LONG = 1_000_000  # steps: no job of these ends by itself


@contextmanager
def _clouds() -> Iterator[Clouds]:
    folder = Path(tempfile.mkdtemp(prefix="neutrino-bench-"))
    folder.chmod(0o711)
    try:
        with three_clouds(folder, ("aws", "gcp")) as clouds:
            yield clouds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(clouds: Clouds, **fields: Any) -> Iterator[Job]:
    """A job that works on aws and has a checkpoint; it is cancelled in the end."""
    standby = fields.pop("standby", None)
    job = clouds.grow("bench", ["aws", "gcp"] if standby else ["aws"], standby=standby, steps=_LONG, **fields)
    clouds.running_on(job, "aws")
    clouds.checkpointed(job, 2)  # two tell what stays the same
    try:
        yield job
    finally:
        with contextlib.suppress(Exception):
            job.cancel()
            clouds.ended(job)


def _away(clouds: Clouds, job: Job) -> float:
    """Seconds for which the job was away, once it works again."""
    view = clouds.view(job)
    clouds.at_work(job, until(lambda: epoch if (epoch := clouds.view(job).epoch) > view.attempts[0].epoch else None))
    seconds = clouds.view(job).interruption_seconds
    assert seconds is not None
    return seconds


def move(clouds: Clouds, **fields: Any) -> tuple[float, float]:
    """Move a job; returns for how long it was away, and what a mere copy of its checkpoint took, before and after."""
    with _running(clouds, **fields) as job:
        before = _copy(clouds, job)
        job.migrate("gcp")
        away = _away(clouds, job)
        return away, (before + _copy(clouds, job)) / 2


def _copy(clouds: Clouds, job: Job) -> float:
    """Seconds in which a transfer copies the job's checkpoint from aws to gcp, next to the job."""
    row = clouds.sql(
        """SELECT r.prefix, encode(c.digest, 'hex') AS digest FROM artifacts c JOIN replicas r ON r.artifact_id = c.id
           WHERE c.job_id = %s AND c.kind = 'checkpoint' AND r.store = %s ORDER BY c.id DESC LIMIT 1""",
        decode("j", job.id),
        clouds.stores["aws"],
    )[0]
    began = time.perf_counter()
    transfer(
        open_store(clouds.stores["aws"]),
        row.prefix,
        open_store(clouds.stores["gcp"]),
        f"bench/{job.id}-{time.monotonic_ns()}",
    )
    return time.perf_counter() - began


def recover(clouds: Clouds, **fields: Any) -> tuple[float, float]:
    """Lose a cloud, its worker and its store, with a standby; returns the seconds from the end of the lease to the
    first step there, and the age of the checkpoint from which the job went on."""
    with _running(clouds, standby="gcp", **fields) as job:
        until(lambda: (seen := clouds.view(job).standby) and seen.step is not None)
        before = clouds.view(job).standby
        assert before is not None
        clouds.kill_worker("aws")
        clouds.lose_store("aws")
        epoch = until(lambda: view.epoch if (view := clouds.view(job)).epoch > 1 else None)
        clouds.at_work(job, epoch)
        row = clouds.sql(
            """SELECT extract(epoch FROM finished_at) AS lost, (SELECT min(at) FROM metrics
               WHERE job_id = %s AND epoch = %s AND NOT starts_with(name, 'sys/')) AS works
               FROM attempts WHERE job_id = %s AND epoch = 1""",
            decode("j", job.id),
            epoch,
            decode("j", job.id),
        )[0]
        return float(row.works) - float(row.lost), before.age_seconds or 0.0


def figures(megabytes: int = 64, runs: int = 3) -> list[Figure]:
    """How long jobs with checkpoints of several kinds are away, in the median of so many moves, and one whose cloud is
    lost."""
    size = megabytes * MIB
    # Few checkpoints of its own accord: what is measured is the one that the move asks for. The kinds take turns, so
    # that whatever else the machine does meets all of them.
    frozen = {"ballast": size // 10, "frozen": size * 9 // 10}
    kinds: dict[str, dict[str, int]] = {"small": {}, "dense": {"ballast": size}, "mostly frozen": frozen}
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with _clouds() as clouds:
        for _ in range(runs):
            for kind, fields in kinds.items():
                found[kind].append(move(clouds, every=50, pause=0.05, **fields))
        recovered, age = recover(clouds, every=50, pause=0.05, ballast=size)
    away, copied = (
        {kind: statistics.median(run[column] for run in runs) for kind, runs in found.items()} for column in (0, 1)
    )
    return [
        Figure("a job with a checkpoint of some bytes is away", f"{away['small']:.2f} s"),
        *(
            _figure(f"one with {megabytes} MiB, {kind},", away[kind], copied[kind], away["small"])
            for kind in ("dense", "mostly frozen")
        ),
        Figure(
            "its cloud is lost: works on the standby after", f"{recovered:.2f} s", "", None, "≤ 3 s", recovered <= 3
        ),
        Figure("and the checkpoint there was old", f"{age:.1f} s"),
    ]


def _figure(what: str, away: float, copied: float, start: float) -> Figure:
    ratio = away / copied
    against = f"copying it: {copied:.2f} s; with the start {away / (copied + start):.2f}"
    return Figure(f"{what} is away", f"{away:.2f} s", against, ratio, "≤ 1.1", ratio <= 1.1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.migration", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=64, help="size of the checkpoint")
    parser.add_argument("--runs", type=int, default=3, help="moves of each kind")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    show(figures(chosen.megabytes, chosen.runs))


if __name__ == "__main__":
    main()
