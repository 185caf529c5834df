"""What a lease becomes on a worker: something that lives, is stopped or lost, and ends with a report."""
# ruff: noqa: B027 - an execution that has nothing to do where the worker intervenes leaves the method empty

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread

from orchestrator.domain.protocol import LONGEST_MESSAGE, ArtifactUpload, Lease, Report
from orchestrator.domain.state import Reason
from workers.depot import Depot
from workers.feed import Feed
from workers.folders import Folders
from workers.gpus import Shares
from workers.limits import OomWatch
from workers.runner import Runner
from workers.settings import Settings
from workers.shipper import Shipper
from workers.verdict import Verdict
from workers.zygote import clock

_TIDY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Host:
    """What an attempt needs of its worker. `bulk` runs what fetches or removes many bytes; `publishing` what keeps the
    job's own, which must not wait for that; `env` is what the place adds to the job's environment; `publishes` is False
    for the nodes of a job that leave its output to the first one."""

    settings: Settings
    runner: Runner
    shipper: Shipper
    depot: Depot
    folders: Folders
    bulk: Executor
    publishing: Executor
    oom: OomWatch
    gpus: Shares
    env: Mapping[str, str] = field(default_factory=dict)
    publishes: bool = True


async def tidied(host: Host) -> None:
    """Return when what was left to be removed is removed, or soon anyway: what stays is found by the next worker here,
    or by the janitor."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tidy() -> None:
        host.bulk.shutdown()
        host.publishing.shutdown()
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(done.set)

    Thread(target=tidy, name="tidy", daemon=True).start()  # one that is stuck holds nothing up
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), _TIDY_SECONDS)


class Execution(ABC):
    """`live()` does everything; the other methods are how the worker intervenes."""

    def __init__(self, lease: Lease, host: Host) -> None:
        self.name = lease.attempt
        self.lost = False
        self.began = clock()
        self._lease = lease
        self._host = host
        self._feed = Feed(lease.attempt)
        self._stop: Verdict | None = None
        self._stopped = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []

    async def live(self) -> Report | None:
        """Do it. Returns the report when all of its processes are gone and all of its output is stored; None when
        nothing of it is wanted any more."""
        shipper = self._host.shipper
        shipper.add(self.name, self._feed)
        self._after(self._lease.timeout_seconds, self._time_out)
        try:
            found, output = await self._work()
            if not self.lost and not self._feed.empty:
                await shipper.flush(self.name)
        finally:
            shipper.drop(self.name)
            for timer in self._timers:
                timer.cancel()
            self._clear()
        if self.lost:
            return None
        return Report(
            attempt=self.name,
            reason=found.reason,
            message=found.message[:LONGEST_MESSAGE],
            exit_code=found.exit_code,
            output=output,
            damaged=found.damaged,
        )

    def stop(self, why: Verdict, grace: float) -> None:
        """End it gently: SIGTERM now, SIGKILL after `grace` seconds. The first reason is the one reported."""
        if self._stop is not None:
            return
        self._stop = why
        self._stopped.set()
        self._feed.add_system(f"Stopping. {why.message}")
        self._host.shipper.poke()
        if grace > 0 and self._terminate():
            self._after(grace, self.kill)
        else:
            self.kill()

    def lose(self) -> None:
        """The lease is gone: nothing is accepted any more. Kill, and say nothing."""
        self.lost = True
        self._stopped.set()
        self._host.shipper.drop(self.name)
        self.kill()

    @abstractmethod
    def kill(self) -> None:
        """End its processes at once; the reason given before, if any, stays."""

    def started(self, leader: int) -> None:
        """The process that the zygote has forked for it exists."""

    def check_limits(self, table: dict[int, int]) -> None:
        """Stop it if it uses more than it may. `table` is `proctree.parents()`."""

    def want_checkpoint(self) -> None:
        """Tell its program that a checkpoint is wanted now."""

    def take_checkpoints(self) -> None:
        """Publish the checkpoints that its program has left."""

    @abstractmethod
    async def _work(self) -> tuple[Verdict, ArtifactUpload | None]:
        """What came of it, and what it has stored."""

    @abstractmethod
    def _terminate(self) -> bool:
        """Send SIGTERM to its processes; False when there are none."""

    def _clear(self) -> None:
        """Give back what it held."""

    def _time_out(self) -> None:
        text = f"Timed out after {self._lease.timeout_seconds:g} s."
        self.stop(Verdict(Reason.TIMEOUT, text), self._host.settings.grace)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, act))
