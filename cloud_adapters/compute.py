"""What every place that runs work for us can do, in one vocabulary: a Kubernetes cluster, or this machine.

Work is named by job and epoch, so that launching it twice is the same as once. All methods are synchronous and safe to
call from many threads, and raise the errors of `cloud_adapters.compute_errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import Event
from typing import Protocol

from orchestrator.domain.quantities import Gpu
from orchestrator.domain.state import Reason


class Phase(StrEnum):
    """How far one piece of work is. WAITING: for a place; STARTING: it has one, its image is on the way."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def over(self) -> bool:
        """True when no process of it is left."""
        return self in {Phase.SUCCEEDED, Phase.FAILED}


STRANDED_AFTER = 120.0
"""Seconds after the end of its grace in which a piece may still go by itself: machines can be busy."""

_TELLING = {Phase.FAILED: 0, Phase.WAITING: 2, Phase.STARTING: 3, Phase.RUNNING: 4, Phase.SUCCEEDED: 5}


@dataclass(frozen=True, slots=True)
class Piece:
    """One node's share of some work. `reason` and `message` say why it waits or how it ended; `hopeless`: waiting
    will not help. `place` is the machine it is on, `name` what it is called there. `gone_by`: it was asked to go, and
    should be gone by then, in seconds since the epoch. `bare`: it has a machine, and nothing of it is there yet."""

    index: int
    phase: Phase
    reason: Reason | None = None
    message: str = ""
    exit_code: int | None = None
    place: str | None = None
    hopeless: bool = False
    gone_by: float | None = None
    name: str = ""
    bare: bool = False

    def stranded(self, now: float) -> bool:
        """Whether it should have been gone long ago: its machine does not answer, and will not do as it was asked."""
        return not self.phase.over and self.gone_by is not None and now > self.gone_by + STRANDED_AFTER


@dataclass(frozen=True, slots=True)
class Status:
    """Some work with its pieces, in order: as many as are `wanted`, or fewer while they are being made. `why` says what
    stands in the way of those that lack, `doomed` that somebody has deleted it."""

    name: str
    pieces: tuple[Piece, ...] = ()
    why: str = ""
    doomed: bool = False
    wanted: int = 1

    @property
    def gone(self) -> bool:
        """True when none of its processes is left."""
        return all(piece.phase.over for piece in self.pieces)

    def stranded(self, now: float) -> bool:
        """True when all that is left of it is on machines that do not answer."""
        return not self.gone and all(piece.phase.over or piece.stranded(now) for piece in self.pieces)

    @property
    def telling(self) -> Piece | None:
        """The piece that says most about the whole: one that failed, cannot start, waits, starts, or runs."""
        ranked = sorted(self.pieces, key=lambda one: (1 if one.hopeless else _TELLING[one.phase], one.index))
        if not ranked:
            return None
        first = ranked[0]
        several = len(self.pieces) > 1 and first.message
        return replace(first, message=f"Node {first.index}: {first.message}") if several else first


@dataclass(frozen=True, slots=True)
class Work:
    """What to run on each of `nodes` machines. `token` reaches the program as a file, named by NEUTRINO_TOKEN_FILE;
    `secrets` are variables from `name/key` that the place itself keeps. Memory in bytes, times in seconds."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    token: str = field(repr=False)
    image: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    cpu: float = 1.0
    memory: int | None = None
    gpu: Gpu | None = None
    deadline: float = 86400.0
    grace: float = 45.0


@dataclass(frozen=True, slots=True)
class Offer:
    """Machines of one shape that are there now: `machines` of them, each with such GPUs, CPUs and bytes of memory."""

    machines: int
    cpu: float
    memory: int
    gpu: Gpu | None = None
    spot: bool = False
    region: str = ""


class Compute(Protocol):
    """A place that runs work. `synced` is set once all that is there is known; `silent_since` tells since when it does
    not answer, in seconds since the epoch, None while it does."""

    @property
    def synced(self) -> Event: ...
    @property
    def silent_since(self) -> float | None: ...

    def offers(self) -> tuple[Offer, ...]:
        """What machines there are now. A place that can grow has more than it shows."""

    def launch(self, work: Work) -> None:
        """Start it. Launching the same name again changes nothing."""

    def status(self, name: str) -> Status | None:
        """How it is doing; None when there is no such work."""

    def logs(self, name: str, index: int = 0, *, tail: int = 100) -> Iterator[str]:
        """The last lines that a node's process itself has written."""

    def terminate(self, name: str) -> None:
        """Ask it to go, gently first. It is gone when its status says so. What does not exist is no error."""

    def release(self, name: str) -> None:
        """Its end is recorded: nothing needs to be kept of it any more. What does not exist is no error."""

    def inventory(self) -> dict[str, Status]:
        """Everything that was launched here and not released."""

    def look_around(self) -> None:
        """Find out what `watch` does not tell, such as why nothing has been made of some work."""

    def watch(self, on_change: Callable[[str], None], stop: Event) -> None:
        """Call `on_change` with the name of whatever changes, until `stop` is set. Blocks; for a thread of its own."""
