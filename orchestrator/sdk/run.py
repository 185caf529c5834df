"""`nu.run()`: what code inside a job talks to. Outside a job the same calls print and write below
`./neutrino-run`.

Light on purpose (standard library only): the workers' warm process holds it in memory and forks every
attempt from there.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.domain.run import Interrupted, Run
from orchestrator.sdk.plan import CHANNEL, CHECKPOINTS, INPUTS, OUTPUT, RESUME, RUN_DIR, SCRATCH, WANTED, Plan

_ATOMIC = 4096  # PIPE_BUF of pipe(7): so many bytes arrive in one piece, whoever else writes
_LONGEST_NAME = 128
_LONGEST_MESSAGE = 512
_LARGEST_STEP = 2**53


class CheckpointFailed(RuntimeError):
    """The checkpoint was not published, and an attempt that follows will not see it; the reason is in the
    message."""


_attached: list[Run] = []


def attach(folder: str, plan: Plan) -> Run:
    """Tell this process which attempt it runs, so that `run()` need not look. For the workers' own use."""
    _attached[:] = [AttachedRun(folder, plan)]
    return _attached[0]


def run() -> Run:
    """The attempt that this process belongs to. Outside a job: a stand-in that prints metrics and keeps
    files here.

    Inside a job the first call takes over SIGTERM, with which a worker announces that the machine is wanted
    back. Code that has looked at `stopping` is left to save itself; other code is interrupted where it
    stands by `Interrupted`.
    """
    if not _attached:
        folder = os.environ.get(RUN_DIR)
        if folder:
            attach(folder, Plan.read(folder))
        else:
            _attached.append(LocalRun(Path("neutrino-run") / time.strftime("%Y%m%d-%H%M%S")))
    return _attached[0]


class _Steps:
    """Steps of metrics: those given, or one more than the last."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, step: int | None) -> int:
        taken = self._next if step is None else _checked_step(step)
        self._next = taken + 1
        return taken


def _checked_step(step: int) -> int:
    if not 0 <= step < _LARGEST_STEP:
        raise ValueError(f"a step is a whole number from 0 on, not {step!r}")
    return int(step)


def _checked_metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Plain numbers by name; NaN and infinities become None. Raises ValueError for a name that cannot be
    stored, and for what is no number."""
    checked: dict[str, float | None] = {}
    for name, value in metrics.items():
        if not (isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and all(char >= " " for char in name)):
            raise ValueError(
                f"{name!r} cannot name a metric: 1 to {_LONGEST_NAME} characters without control characters"
            )
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"the metric {name!r} must be a number, not {value!r}") from None
        checked[name] = number if math.isfinite(number) else None
    return checked


def _checked_fraction(fraction: float) -> float:
    if not 0 <= fraction <= 1:
        raise ValueError(f"progress goes from 0 to 1, not {fraction!r}")
    return float(fraction)


def _checked_folder(path: str | Path) -> Path:
    folder = Path(path).absolute()
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder; a checkpoint is a folder with files")
    return folder


class _Stopping:
    """What SIGTERM means to this process: set a flag for those who look at it, interrupt those who never
    do."""

    def __init__(self) -> None:
        self._seen = False
        self._watched = False
        self._process = os.getpid()
        with contextlib.suppress(ValueError):  # only the main thread may; in another, SIGTERM means what it meant
            # Not signal.signal: that also looks up enums, which copies 25 pages in every attempt (ADR 0005).
            _signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a copy, such as one of multiprocessing: it dies as it would without us
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._seen = True
        if not self._watched:
            raise Interrupted("The worker asked this process to stop.")

    @property
    def now(self) -> bool:
        self._watched = True
        return self._seen


class AttachedRun:
    """One attempt on a worker. Talks over a FIFO in the attempt's folder, one JSON document per line; each
    line fits into one atomic write, so that any thread and any process of the attempt may speak."""

    def __init__(self, folder: str, plan: Plan) -> None:
        self._folder = folder
        self._plan = plan
        # No pathlib until the job asks for a path: this runs in every attempt (ADR 0005).
        self._channel = os.open(f"{folder}/{CHANNEL}", os.O_WRONLY | os.O_CLOEXEC)
        self._wanted = f"{folder}/{CHECKPOINTS}/{WANTED}"
        self._steps = _Steps()
        self._stopping = _Stopping()
        self._replies = itertools.count(1)

    @property
    def id(self) -> str:
        return self._plan.attempt

    @property
    def params(self) -> Mapping[str, Any]:
        return self._plan.params

    @property
    def dataset(self) -> str | None:
        return self._plan.dataset

    @property
    def inputs(self) -> Mapping[str, Path]:
        return {name: Path(self._folder, INPUTS, name) for name in self._plan.inputs}

    @property
    def output_dir(self) -> Path:
        return Path(self._folder, OUTPUT)

    @property
    def scratch_dir(self) -> Path:
        return _made(Path(self._folder, SCRATCH))

    @property
    def resume_dir(self) -> Path | None:
        return None if self._plan.resume_step is None else Path(self._folder, RESUME)

    @property
    def resume_step(self) -> int | None:
        return self._plan.resume_step

    @property
    def stopping(self) -> bool:
        return self._stopping.now

    @property
    def checkpoint_wanted(self) -> bool:
        return os.path.exists(self._wanted)  # noqa: PTH110 - asked after every batch

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        checked = _checked_metrics(metrics)
        at, taken = time.time(), self._steps.take(step)
        for part in _portions(checked):
            self._tell({"metrics": part, "step": taken, "at": at})

    def progress(self, fraction: float, message: str = "") -> None:
        self._tell({"progress": _checked_fraction(fraction), "message": message[:_LONGEST_MESSAGE]})

    def checkpoint(self, path: str | Path, step: int) -> None:
        """Publish the files below `path`. Raises CheckpointFailed, with the reason, when that cannot be
        done."""
        request = {"checkpoint": str(_checked_folder(path)), "step": _checked_step(step)}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._wanted)  # noqa: PTH108 - as above
        with self._reply_fifo() as (name, reply):
            self._tell(request | {"reply": name})
            answer = json.loads(os.read(reply, _ATOMIC))
        if error := answer.get("error"):
            raise CheckpointFailed(error)

    def _tell(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"
        if len(line) > _ATOMIC:
            raise ValueError(f"too long to be sent to the worker: {len(line)} bytes")
        os.write(self._channel, line)

    @contextlib.contextmanager
    def _reply_fifo(self) -> Iterator[tuple[str, int]]:
        """A FIFO of one's own for one answer, so that no other thread or process can take it away."""
        name = f"reply-{os.getpid()}-{next(self._replies)}"
        path = Path(self._folder, name)
        os.mkfifo(path, 0o600)
        reply = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # both ways, so that opening waits for nobody
        try:
            yield name, reply
        finally:
            os.close(reply)
            path.unlink()


def _portions(metrics: dict[str, float | None]) -> Iterator[dict[str, float | None]]:
    """Parts that are small enough for one line each."""
    part: dict[str, float | None] = {}
    room = _ATOMIC - 128  # for what stands around the metrics
    for name, value in metrics.items():
        cost = len(json.dumps(name, ensure_ascii=False).encode(errors="replace")) + 32
        if cost > room and part:
            yield part
            part, room = {}, _ATOMIC - 128
        part[name] = value
        room -= cost
    yield part


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class LocalRun:
    """The stand-in outside a job: the same calls, with the terminal and a folder of one's own in place of a
    worker."""

    id = "local"
    dataset: str | None = None
    resume_dir: Path | None = None
    resume_step: int | None = None
    stopping = False
    checkpoint_wanted = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._steps = _Steps()
        self.params: Mapping[str, Any] = {}
        self.inputs: Mapping[str, Path] = {}

    @property
    def output_dir(self) -> Path:
        return _made(self._folder / OUTPUT)

    @property
    def scratch_dir(self) -> Path:
        return _made(self._folder / SCRATCH)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = "  ".join(f"{name}={value}" for name, value in _checked_metrics(metrics).items())
        self._print(f"step {self._steps.take(step)}  {values}")

    def progress(self, fraction: float, message: str = "") -> None:
        self._print(f"{_checked_fraction(fraction):.0%}  {message}".rstrip())

    def checkpoint(self, path: str | Path, step: int) -> None:
        import shutil  # noqa: PLC0415 - a megabyte that the workers' warm process must not hold

        target = self._folder / "checkpoints" / str(_checked_step(step))
        shutil.copytree(_checked_folder(path), target, dirs_exist_ok=True)
        self._print(f"checkpoint at step {step}: {target}")

    def _print(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
