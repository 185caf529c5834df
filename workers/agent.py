"""The agent: holds a worker's attempts and moves them along. The parts do the work: `exchange` claims and reports,
`pulse` keeps the leases, `shipper` sends logs, `runner` forks, `doorbell` listens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orchestrator.alive import keep_beating
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import (
    LONGEST_MESSAGE,
    Heartbeat,
    HeartbeatReply,
    Lease,
    RegisterWorker,
    Report,
    WorkerRegistered,
)
from orchestrator.domain.state import Reason
from orchestrator.version import VERSION
from workers import haul, joining, proctree
from workers.api import Api
from workers.depot import Depot
from workers.doorbell import Listener
from workers.exchange import Exchange
from workers.execution import Execution, Host, tidied
from workers.folders import Folders
from workers.gpus import Shares, inventory
from workers.limits import OomWatch
from workers.pulse import Pulse
from workers.runner import Runner
from workers.settings import Settings
from workers.shipper import Shipper
from workers.tasks import together
from workers.verdict import CANCELLED, DEAR, MOVING, Verdict
from workers.zygote import clock

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TICK = 0.1  # seconds between looks at the leases
_FULL_LOOK = 0.5  # seconds between looks at each attempt's memory and processes
_CALLS_AT_ONCE = 4  # a report, a heartbeat, an append and a registration: none waits for another
_MOVES_AT_ONCE = 4
_DRAINED = Verdict(Reason.PREEMPTED, "The worker was asked to go; what was checkpointed is kept.")
_GIVEN_UP = "The worker could not reach the API for so long that it had to end this attempt."
_NEVER_ARRIVED = "The answer that gave this attempt to the worker never arrived; nothing was executed."


class Agent:
    """One worker. `run()` returns when it has drained."""

    def __init__(self, settings: Settings, runner: Runner) -> None:
        self._settings = settings
        self._runner = runner
        self._api = Api(settings.api_url, settings.token)
        self._calls = ThreadPoolExecutor(_CALLS_AT_ONCE, "call")
        bulk, publishing = (ThreadPoolExecutor(_MOVES_AT_ONCE, name) for name in ("move", "publish"))
        self._shipper = Shipper(lambda batch: self._call(lambda: self._api.append(batch)), self._on_lost)
        depot = Depot(self._api, lambda: self._store, settings.data_dir / "cache")
        folders = Folders(settings.data_dir / "attempts")
        self._host = Host(
            settings, runner, self._shipper, depot, folders, bulk, publishing, OomWatch(), Shares(inventory())
        )
        self._exchange = Exchange(
            settings.slots,
            worker=lambda: self._worker,
            call=lambda batch: self._call(lambda: self._api.report(batch)),
            free=self._free_slots,
            on_lease=self._begin,
            on_unknown=self._register_again,
        )
        self._pulse = Pulse(self._heartbeat, self._obey, runner.alive, self._register_again)
        self._attempts: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._worker = ""
        self._store = ""
        self._given_up: set[str] = set()
        self._named: set[str] = set()
        self._bell: Listener | None = None
        self._draining = asyncio.Event()
        self._unknown = asyncio.Event()

    async def run(self) -> None:
        """Register, work, and return after a drain. Raises NeutrinoError when the API refuses this worker."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self._runner.attach(self._on_started)
        await together(self._work(), keep_beating())
        await tidied(self._host)

    async def _work(self) -> None:
        drained = asyncio.create_task(self._drained())
        registering = asyncio.create_task(self._register())
        await asyncio.wait([registering, drained], return_when=asyncio.FIRST_COMPLETED)
        if not registering.done():
            return
        self._bell = joining.listen(
            self._settings.redis_url, registering.result(), self._exchange.work_waits, self._pulse.beat_now
        )
        parts = [self._exchange.run(), self._pulse.run(), self._shipper.run(), self._watch(), self._stay_registered()]
        working = [asyncio.create_task(part) for part in parts]
        await asyncio.wait([*working, drained], return_when=asyncio.FIRST_COMPLETED)
        for task in (*working, drained):
            if task.done():
                task.result()  # a part that failed takes the worker down, loudly
            task.cancel()

    async def _call(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._calls, work)

    async def _register(self) -> WorkerRegistered:
        settings = self._settings
        body = RegisterWorker(
            name=settings.name,
            pool=settings.pool,
            slots=settings.slots,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            gpus=tuple(gpu.name for gpu in self._host.gpus.devices),
        )
        registered = await joining.register(lambda: self._call(lambda: self._api.register(body)), body, self._pulse)
        self._worker, self._store = registered.worker, registered.store
        return registered

    def _register_again(self) -> None:
        self._unknown.set()

    async def _stay_registered(self) -> None:
        """When the API does not know this worker any more: first end everything, as registering claims we did."""
        while True:
            await self._unknown.wait()
            log.error("The API does not know this worker any more. Starting anew.")
            self._surrender()
            while self._attempts:
                await asyncio.wait(self._tasks)
            await self._register()
            self._unknown.clear()
            self._exchange.work_waits()

    def _free_slots(self) -> int:
        if self._draining.is_set() or self._unknown.is_set() or self._pulse.expired:
            return 0
        return max(0, self._settings.slots - len(self._attempts))

    def _begin(self, lease: Lease) -> None:
        try:
            attempt = haul.begin(lease, self._host)
        except NeutrinoError as error:
            text = f"This worker cannot read the job; it may be older than the API. {error}"
            self._exchange.report(
                Report(attempt=lease.attempt, reason=Reason.INFRA_ERROR, message=text[:LONGEST_MESSAGE])
            )
            return
        self._attempts[lease.attempt] = attempt
        if self._draining.is_set():
            attempt.stop(_DRAINED, grace=0)
        task = asyncio.get_running_loop().create_task(self._live(attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, attempt: Execution) -> None:
        report: Report | None
        try:
            report = await attempt.live()
        except Exception as error:
            log.exception("Attempt %s failed in the worker itself.", attempt.name)
            text = f"The worker itself failed: {type(error).__name__}: {error}"[:LONGEST_MESSAGE]
            report = None if attempt.lost else Report(attempt=attempt.name, reason=Reason.INFRA_ERROR, message=text)
        del self._attempts[attempt.name]
        if self._pulse.expired:  # the zygote has ended it, before our own look at the leases
            self._given_up.add(attempt.name)
            report = None
        if report is None:
            self._exchange.slot_freed()
        else:
            self._exchange.report(report)

    def _on_started(self, name: str, leader: int) -> None:
        if attempt := self._attempts.get(name):
            attempt.started(leader)

    def _on_lost(self, name: str) -> None:
        self._exchange.forget(name)
        if attempt := self._attempts.get(name):
            log.warning("The lease of %s is lost; killing it.", name)
            attempt.lose()

    async def _heartbeat(self) -> HeartbeatReply:
        held = (*self._attempts, *self._exchange.unsent)
        self._named = set(held)
        beat = Heartbeat(worker=self._worker, attempts=tuple(held), draining=self._draining.is_set())
        return await self._call(lambda: self._api.heartbeat(beat))

    async def _obey(self, reply: HeartbeatReply) -> None:
        for name in reply.lost:
            self._on_lost(name)
        for attempt in self._told(reply.dear):
            attempt.stop(DEAR, self._settings.grace)
        for attempt in self._told(reply.cancel):
            attempt.stop(CANCELLED, self._settings.grace)
        for attempt in self._told(reply.move):
            attempt.stop(MOVING, self._settings.drain)
        for attempt in self._told(reply.checkpoint):
            attempt.want_checkpoint()
        if reply.drain:
            self._drain()
        if reply.waiting:
            self._exchange.work_waits()
        await self._disown(reply.orphans)
        # What was named in this very heartbeat may be an orphan in the next one: it is remembered until then.
        self._given_up &= set(reply.orphans) | self._named | self._attempts.keys()

    def _told(self, names: Sequence[str]) -> list[Execution]:
        return [self._attempts[name] for name in names if name in self._attempts]

    async def _disown(self, orphans: Sequence[str]) -> None:
        """Report what the database says this worker holds, and it does not. A claim under way may be about to bring
        them; when none is, and they are not here, they never come."""
        if not orphans:
            return
        await self._exchange.settled()
        for name in set(orphans) - self._attempts.keys() - self._exchange.unsent:
            given_up = name in self._given_up
            reason = Reason.INFRA_ERROR if given_up else Reason.CLAIM_LOST
            message = _GIVEN_UP if given_up else _NEVER_ARRIVED
            self._exchange.report(Report(attempt=name, reason=reason, message=message))

    async def _watch(self) -> None:
        """Look at leases and limits, and at whether the pool's bells are for us."""
        looked = busy_since = clock()
        while True:
            await asyncio.sleep(_TICK)
            now = clock()
            if self._pulse.expired and self._holds:
                log.error("No answer from the API for too long: giving up what this worker holds.")
                self._surrender()
            if now - looked > _FULL_LOOK:
                looked = now
                self._check_limits()
                for attempt in self._attempts.values():
                    attempt.take_checkpoints()
            if self._free_slots():
                busy_since = now
            if self._bell is not None:
                self._bell.listen_to_pool(now - busy_since < _FULL_LOOK)

    @property
    def _holds(self) -> bool:
        """True while there are attempts or reports that have not been given up."""
        return bool(self._exchange.unsent) or any(not attempt.lost for attempt in self._attempts.values())

    def _check_limits(self) -> None:
        began_before = clock() - _FULL_LOOK
        old = [attempt for attempt in self._attempts.values() if attempt.began <= began_before]
        if old:
            table = proctree.parents()
            for attempt in old:
                attempt.check_limits(table)

    def _surrender(self) -> None:
        self._given_up |= self._exchange.unsent | self._attempts.keys()
        for name in self._exchange.unsent:
            self._exchange.forget(name)
        for attempt in self._attempts.values():
            attempt.lose()

    def _on_signal(self) -> None:
        if self._draining.is_set():
            log.warning("Asked to go a second time: killing what is left.")
            for attempt in self._attempts.values():
                attempt.kill()
        self._drain()

    def _drain(self) -> None:
        if self._draining.is_set():
            return
        log.info("Draining %d attempts.", len(self._attempts))
        self._draining.set()
        for attempt in self._attempts.values():
            attempt.stop(_DRAINED, self._settings.drain)
        self._pulse.beat_now()

    async def _drained(self) -> None:
        """Return when a drain was asked for and everything is over and reported, or cannot be any more."""
        await self._draining.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._exchange.emptied()
