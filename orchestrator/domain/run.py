"""What code inside a job can do: the interface that every workload and every `nu.run()` speaks to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Interrupted(BaseException):
    """The machine is wanted back: the work has been checkpointed and goes on in a later attempt.

    Raised by a workload that saw `Run.stopping` and has saved itself. Not an `Exception`, so that a broad `except` in
    user code does not swallow it.
    """


class Run(Protocol):
    """One attempt, seen from inside."""

    @property
    def id(self) -> str:
        """The attempt's id such as `j-7f3k1.2`; `local` outside a job."""

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters of the job's spec."""

    @property
    def dataset(self) -> str | None:
        """The dataset's URI as the spec has it, such as `builtin://digits`."""

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The folder with each input that the spec names, every byte verified."""

    @property
    def output_dir(self) -> Path:
        """Files written below this folder become the job's artifact when it succeeds."""

    @property
    def scratch_dir(self) -> Path:
        """A folder for what is needed for a while only: it is removed with the attempt, however that ends."""

    @property
    def resume_dir(self) -> Path | None:
        """A folder with the last committed checkpoint, verified; None when there is none."""

    @property
    def resume_step(self) -> int | None:
        """The step at which that checkpoint was taken."""

    @property
    def stopping(self) -> bool:
        """True once the worker is draining: checkpoint, then raise `Interrupted`."""

    @property
    def checkpoint_wanted(self) -> bool:
        """True while somebody wants a checkpoint now; the next call of `checkpoint` grants it."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a step; a step counts up by itself when it is not given. NaN is recorded as absent."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far the work is, from 0 to 1."""

    def checkpoint(self, path: str | Path, step: int) -> None:
        """Publish the files below `path` as a checkpoint. Returns once it is committed: a later crash resumes here."""
