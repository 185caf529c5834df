"""A run that keeps everything in memory and in a temporary folder, and trainings that several tests look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.run import Run
from orchestrator.domain.workloads import DIGITS
from workers.workloads.image_classifier import run as train

QUICK = {"epochs": 3, "batch_size": 256}  # five batches per epoch


@dataclass(frozen=True)
class Saved:
    """A checkpoint as it was published."""

    step: int
    folder: Path


class MemoryRun:
    """An attempt that remembers what it was told. It is `stopping` from the look number `stop_at` on, from 1, and a
    checkpoint is wanted right after the look number `wanted_at`."""

    id = "local"

    def __init__(
        self,
        folder: Path,
        params: Mapping[str, Any],
        *,
        dataset: str | None = DIGITS,
        resume: Saved | None = None,
        stop_at: int | None = None,
        wanted_at: int | None = None,
    ) -> None:
        self.params = params
        self.dataset = dataset
        self.inputs: Mapping[str, Path] = {}
        self.output_dir = folder / "output"
        self.scratch_dir = folder
        self.resume_dir = resume.folder if resume else None
        self.resume_step = resume.step if resume else None
        self.logged: list[tuple[int | None, dict[str, float]]] = []
        self.fractions: list[float] = []
        self.checkpoints: list[Saved] = []
        self._folder = folder
        self._stop_at = stop_at
        self.wanted_at = wanted_at
        self._looks = 0

    @property
    def stopping(self) -> bool:
        self._looks += 1
        return self._stop_at is not None and self._looks >= self._stop_at

    @property
    def checkpoint_wanted(self) -> bool:
        return self.wanted_at is not None and self._looks == self.wanted_at

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.logged.append((step, dict(metrics)))

    def progress(self, fraction: float, message: str = "") -> None:
        self.fractions.append(fraction)

    def checkpoint(self, path: str | Path, step: int) -> None:
        kept = self._folder / "checkpoints" / str(step)
        shutil.copytree(path, kept)  # fails when a step comes twice
        self.checkpoints.append(Saved(step, kept))

    def files(self) -> dict[str, bytes]:
        """What lies in the output folder."""
        return {path.name: path.read_bytes() for path in self.output_dir.iterdir()}

    def history(self) -> list[tuple[int | None, dict[str, float]]]:
        """What was logged, without the one number that is a time."""
        return [
            (step, {name: value for name, value in metrics.items() if name != "epoch_seconds"})
            for step, metrics in self.logged
        ]


NewRun = Callable[..., MemoryRun]


def _is_a_run(run: MemoryRun) -> Run:
    return run  # the type checker sees here that MemoryRun keeps to the protocol


@pytest.fixture(scope="session")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> NewRun:
    """Make a `MemoryRun` with a folder of its own."""

    def make(params: Mapping[str, Any], **options: Any) -> MemoryRun:
        return MemoryRun(tmp_path_factory.mktemp("run"), params, **options)

    return make


@pytest.fixture(scope="session")
def default_run(new_run: NewRun) -> MemoryRun:
    """A finished training with the default parameters."""
    run = new_run({})
    train(_is_a_run(run))
    return run


@pytest.fixture(scope="session")
def quick_run(new_run: NewRun) -> MemoryRun:
    """A finished training of three epochs that nothing disturbed."""
    run = new_run(QUICK)
    train(run)
    return run
