"""The launcher: `python -m workers.launcher`. A light worker whose attempts run as pods on its pool's cluster.

It hears the bell, claims, makes a Job for each attempt, and keeps the lease until the pod has taken it over. From then
on it watches: it says why pods wait, reports the end of those that could not, and stops those that shall stop. Pods
outlive it; whoever comes next under its name adopts them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from cloud_adapters.compute_errors import ComputeError
from orchestrator import logs, traces
from orchestrator.alive import keep_beating
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import (
    LONGEST_MESSAGE,
    Heartbeat,
    HeartbeatReply,
    Lease,
    Report,
    WorkerRegistered,
)
from orchestrator.domain.state import Reason
from workers import joining, places
from workers.api import Api
from workers.clearing import Ground
from workers.ending import leave
from workers.exchange import Exchange
from workers.flight import Ending, Flight
from workers.pulse import Pulse
from workers.settings import Settings
from workers.tasks import Tasks, together

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TICK = 1.0
_AT_ONCE = 8  # calls to the cluster, and as many to the API
_SILENCE = 10.0  # seconds without the cluster's answer after which nothing new is claimed
_SPEAK_AFTER = 0.3  # seconds in which more news may join a heartbeat
_NO_JOB = "The cluster has no Job for this attempt; the launcher may have died while it made one."


class Launcher:
    """One pool's launcher. `run()` returns when it is asked to go, or is `outdated`: its pool has changed. Its pods
    stay."""

    def __init__(self, settings: Settings, env: dict[str, str]) -> None:
        self._settings = settings
        self._env = env
        self._api = Api(settings.api_url, settings.token)
        self._calls = ThreadPoolExecutor(_AT_ONCE, "call")
        self._moves = ThreadPoolExecutor(_AT_ONCE, "cluster")
        self._exchange = Exchange(
            settings.slots,
            worker=lambda: self._worker,
            call=lambda batch: self._call(lambda: self._api.report(batch)),
            free=self._free_slots,
            on_lease=self._begin,
            on_unknown=self._register_again,
        )
        self._pulse = Pulse(self._heartbeat, self._obey, lambda _until: None, self._register_again)
        self._flights: dict[str, Flight] = {}
        self._tasks = Tasks()
        self._ground = Ground(lambda: self._place, self._move, self._on_cleared, self._tasks)
        self._worker = self._pool = ""
        self.outdated = False
        self._beats = 0
        self._draining = False
        self._checking = False
        self._registering = False
        self._speaking = False
        self._place: places.Site | None = None
        self._leave = asyncio.Event()
        self._stop = threading.Event()

    async def run(self) -> None:
        """Work until asked to go. Raises NeutrinoError when the API or the cluster refuses this launcher."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave.set)
        await together(self._work(), keep_beating(), self._tasks.failure())

    async def _work(self) -> None:
        leaving = asyncio.create_task(self._leave.wait())
        starting = asyncio.create_task(self._start())
        await asyncio.wait([starting, leaving], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            working = [asyncio.create_task(part) for part in (self._exchange.run(), self._pulse.run(), self._watch())]
            await asyncio.wait([*working, leaving], return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()  # a part that failed takes the launcher down, loudly
                task.cancel()
            await self._finish_launches()
        self._stop.set()

    async def _finish_launches(self) -> None:
        """What was claimed shall have its Job before we go; the lease holds that long."""
        launches = [flight.task for flight in self._flights.values() if flight.task is not None]
        if launches:
            await asyncio.wait(launches, timeout=5.0)

    async def _start(self) -> None:
        registered = await self._register()
        if registered.pods is None:
            raise NeutrinoError(
                f"Pool {self._settings.pool} is not one of pods.",
                hint="Make one with `neutrino pool create NAME --cluster CLUSTER`.",
            )
        self._pool = registered.pods.digest
        self._place = await self._move(lambda: places.open_place(registered, self._settings, self._env))
        joining.listen(self._settings.redis_url, registered, self._exchange.work_waits, self._pulse.beat_now)
        loop = asyncio.get_running_loop()
        compute = self._place.compute
        watching = threading.Thread(
            target=compute.watch,
            args=(lambda name: joining.soon(loop, lambda: self._consider(name)), self._stop),
            name="informer",
            daemon=True,
        )
        watching.start()

    async def _register(self) -> WorkerRegistered:
        body = places.registration(self._settings)
        registered = await joining.register(lambda: self._call(lambda: self._api.register(body)), body, self._pulse)
        self._worker = registered.worker
        return registered

    def _register_again(self) -> None:
        if not self._registering:
            self._registering = True
            self._tasks.spawn(self._register_once_more())

    async def _register_once_more(self) -> None:
        log.error("The API does not know this launcher any more. Registering anew.")
        try:
            await self._register()
        finally:
            self._registering = False

    async def _call(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._calls, work)

    async def _move(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._moves, work)

    @property
    def _ready(self) -> bool:
        return self._place is not None and self._place.compute.synced.is_set()

    def _free_slots(self) -> int:
        if not self._ready or self._draining or self._leave.is_set() or self._trouble():
            return 0
        held = sum(not flight.stranded for flight in self._flights.values())
        return max(0, self._settings.slots - held)

    def _trouble(self) -> str | None:
        """Why nothing is claimed although jobs wait: what is known of the cluster stays known, but may be old."""
        since = None if self._place is None else self._place.compute.silent_since
        if since is None or time.time() - since < _SILENCE:
            return None
        at = time.strftime("%H:%M:%S", time.gmtime(since))
        return f"The cluster of pool {self._settings.pool} has not answered its launcher since {at} UTC."

    def _begin(self, lease: Lease) -> None:
        assert self._place is not None
        flight = self._adopt(lease.attempt)
        try:
            work = self._place.launching.work(lease)
        except NeutrinoError as error:
            text = f"This launcher cannot read the job; it may be older than the API. {error}"
            self._report(flight, Reason.INFRA_ERROR, text)
            return
        flight.task = self._tasks.spawn(self._launch(flight, work))

    def _adopt(self, attempt: str) -> Flight:
        return self._flights.setdefault(attempt, Flight(attempt))

    async def _launch(self, flight: Flight, work: object) -> None:
        assert self._place is not None
        end: Ending | None
        try:
            end = await self._place.launching.launch(
                flight, work, self._place.compute, self._move, lambda: self._speak(flight)
            )
        except Exception as error:  # otherwise its lease would be renewed for ever
            log.exception("The pod of %s could not be made.", flight.attempt)
            end = Reason.INFRA_ERROR, f"Its pod cannot be made. {error!r}", None
        flight.task = None
        if end is not None and not flight.over:
            self._report(flight, *end)
        self._consider(flight.work)

    def _consider(self, name: str) -> None:
        """Something has changed about some work, or may have."""
        if self._place is None:
            return
        status = self._place.compute.status(name)
        flight = self._flights.get(attempt := Flight.attempt_of(name))
        if flight is None:
            if status is not None and not self._leave.is_set():
                self._adopt(attempt)  # the next heartbeat tells whether its attempt still lives
                self._soon()
            return
        if flight.task is not None or flight.clearing:
            return
        if flight.over:
            self._ground.clear(flight)
            return
        if status is None and not flight.seen and self._ready:
            self._report(flight, Reason.INFRA_ERROR, _NO_JOB)
            return
        if flight.take(status, self._beats, self._place.launching.patience):
            self._soon()
        if flight.verdict is not None:
            self._report(flight, *flight.verdict)
        elif flight.must_go(status):
            self._ground.terminate(flight)

    def _speak(self, flight: Flight) -> None:
        if flight.wait is not None:
            self._soon()

    def _soon(self) -> None:
        """A heartbeat soon, which carries what others may want to say as well."""
        if not self._speaking:
            self._speaking = True
            asyncio.get_running_loop().call_later(_SPEAK_AFTER, self._pulse.beat_now)

    def _report(self, flight: Flight, reason: Reason, message: str, exit_code: int | None = None) -> None:
        flight.over = True
        report = Report(attempt=flight.attempt, reason=reason, message=message[:LONGEST_MESSAGE], exit_code=exit_code)
        self._exchange.report(report)
        self._ground.clear(flight)

    def _on_cleared(self, flight: Flight) -> None:
        self._flights.pop(flight.attempt, None)
        self._exchange.slot_freed()

    async def _heartbeat(self) -> HeartbeatReply:
        self._speaking = False
        living = [flight for flight in self._flights.values() if not flight.over]
        held = {flight.attempt for flight in living} | self._exchange.unsent
        waits = tuple(wait for flight in living if (wait := flight.news()) is not None)
        beat = Heartbeat(worker=self._worker, attempts=tuple(held), launcher=True, waits=waits, trouble=self._trouble())
        number = self._beats + 1
        try:
            reply = await self._call(lambda: self._api.heartbeat(beat))
        except NeutrinoError:
            for flight in living:
                flight.unheard()
            raise
        self._beats = number
        return reply

    async def _obey(self, reply: HeartbeatReply) -> None:
        self._draining = reply.drain
        for name in reply.lost:
            self._exchange.forget(name)
        for name, flight in list(self._flights.items()):
            flight.draining = reply.drain
            flight.cancelling |= name in reply.cancel
            flight.moving |= name in reply.move
            if name in reply.lost and not flight.over:
                flight.over = True
                self._ground.clear(flight)
        if reply.waiting:
            self._exchange.work_waits()
        if self._pool and reply.pool not in {None, self._pool}:
            log.info("Pool %s has changed: starting anew with what it is now.", self._settings.pool)
            self.outdated = True
            self._leave.set()
        if reply.check and not self._checking:
            self._checking = True
            self._tasks.spawn(self._check())
        if reply.orphans:
            await self._settle_orphans(reply.orphans)
        for flight in list(self._flights.values()):
            self._consider(flight.work)

    async def _settle_orphans(self, orphans: tuple[str, ...]) -> None:
        """Attempts that are ours, and that we did not name: pods of a predecessor, or claims that never became any.
        Which of them, is known once the cluster has been seen; until then they are kept."""
        await self._exchange.settled()
        for name in set(orphans) - self._flights.keys() - self._exchange.unsent:
            self._consider(self._adopt(name).work)

    async def _check(self) -> None:
        assert self._place is not None
        try:
            found = await self._move(self._place.check)
            await self._call(lambda: self._api.checked(found))
        except NeutrinoError as error:
            log.warning("The check of the cluster could not be told: %s", error)
        finally:
            self._checking = False

    async def _watch(self) -> None:
        """What no event tells: Jobs without pods, Jobs deleted by hand, and an API server that is silent."""
        assert self._place is not None
        compute = self._place.compute
        while True:
            await asyncio.sleep(_TICK)
            if not self._ready:
                continue
            try:
                await self._move(compute.look_around)
            except ComputeError as error:
                if compute.silent_since is None:  # otherwise it was said when the silence began
                    log.warning("%s", error)
            for name in {*compute.inventory(), *(flight.work for flight in self._flights.values())}:
                self._consider(name)
            self._exchange.slot_freed()


def main(arguments: list[str] | None = None) -> int:
    """Run a launcher until it is asked to go. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.launcher", description=__doc__)
    parser.add_argument("--remove-all", action="store_true", help="delete every Job of the pool and end")
    parser.add_argument("--leave-unreachable", action="store_true", help="with that: end well without the cluster")
    options = parser.parse_args(arguments)
    logs.configure("launcher")
    env = dict(os.environ)
    try:
        settings = places.settings_from(env)
        traces.configure("launcher")
        if options.remove_all:
            places.remove_all(settings, env, leave_unreachable=options.leave_unreachable)
        else:
            launcher = Launcher(settings, env)
            asyncio.run(launcher.run())
            if launcher.outdated:
                logging.shutdown()
                os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - this very process again
    except NeutrinoError as error:
        sys.stderr.write(f"neutrino launcher: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    leave(main())
