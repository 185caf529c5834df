"""The process inside a pod: `python -m workers.pod`. It takes its attempt over from the launcher, runs it with the same
parts as any worker, and reports.

Of several nodes the first one speaks for the attempt: it renews the lease, ships the numbers, publishes, and reports
success once all others have ended well. Lines come from all, marked with their node. One that fails reports that
itself, which ends the attempt on all of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from orchestrator import logs, traces
from orchestrator.domain.errors import AuthenticationError, LeaseLost, NeutrinoError
from orchestrator.domain.protocol import (
    AppendBatch,
    Appended,
    HeartbeatReply,
    NodeBeat,
    NodeReply,
    PodLease,
    Report,
    ReportBatch,
)
from orchestrator.domain.state import Reason
from workers import haul, last_words, proctree
from workers.api import Api
from workers.backoff import Backoff
from workers.depot import Depot
from workers.ending import leave
from workers.execution import Execution, Host, tidied
from workers.folders import Folders
from workers.gpus import Shares, inventory
from workers.home import Home
from workers.limits import OomWatch
from workers.nodes import Nodes
from workers.pulse import Pulse
from workers.runner import Runner
from workers.settings import Settings
from workers.shipper import Shipper
from workers.verdict import CANCELLED, DEAR, MOVING, Verdict
from workers.zygote import clock

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_TICK = 0.5
_CALLS_AT_ONCE = 4
_MOVES_AT_ONCE = 4
_ATTACH_PATIENCE = 600.0
_NO_WAY = "NEUTRINO_POD_API_URL has to be an address that pods can reach; let egress to it pass."
_DRAINED = Verdict(Reason.PREEMPTED, "Its pod was asked to go; what was checkpointed is kept.")


class Allotted(Shares):
    """The GPUs that Kubernetes has given to this pod: all are the attempt's, whatever the driver says of them."""

    async def take(self, count: int) -> tuple[str, ...]:  # noqa: ARG002 - the scheduler has counted already
        return tuple(device.uuid for device in self.devices)

    def environment(self, taken: tuple[str, ...]) -> dict[str, str]:  # noqa: ARG002 - the container sees no others
        return {}


class Pod:
    """One attempt in a pod of its own. `run()` returns the exit code."""

    def __init__(self, settings: Settings, nodes: Nodes, runner: Runner) -> None:
        self._settings = settings
        self._nodes = nodes
        self._runner = runner
        self._api = Api(settings.api_url, settings.token)
        self._calls = ThreadPoolExecutor(_CALLS_AT_ONCE, "call")
        self._done = False
        self._others_done = 0
        self._asked_to_go = False
        self._heard = asyncio.Event()
        self._attempt: Execution | None = None

    async def run(self) -> int:
        """Take over, live, report. 0 when the attempt succeeded, or was over already and nothing is wanted."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self._runner.attach(self._on_started)
        asked = clock()
        try:
            given = await self._insist(lambda: self._api.attach(self._nodes.index, self._nodes.pod), _ATTACH_PATIENCE)
        except (LeaseLost, AuthenticationError):
            log.info("The attempt went on without this pod; nothing to do.")
            return 0
        except NeutrinoError as error:
            if not error.retryable:
                raise
            raise NeutrinoError(f"The API at {self._settings.api_url} never answered: {error}", hint=_NO_WAY) from error
        if self._asked_to_go:
            return await self._report(
                given, Report(attempt=given.lease.attempt, reason=Reason.PREEMPTED, message=_DRAINED.message)
            )
        self._pulse = Pulse(self._beat, self._obey, self._runner.alive, lambda: None)
        self._pulse.begin(asked, given.lease_seconds, given.heartbeat_seconds)
        return await self._live(given)

    def _on_started(self, _name: str, leader: int) -> None:
        if self._attempt is not None:
            self._attempt.started(leader)

    async def _live(self, given: PodLease) -> int:
        shipper = Shipper(self._send, lambda _name: self._lose())
        host = self._host(shipper, given.store)
        self._attempt = attempt = haul.begin(given.lease, host)
        working = [asyncio.create_task(part) for part in (self._pulse.run(), shipper.run(), self._watch(attempt))]
        living = asyncio.create_task(attempt.live())
        try:
            await asyncio.wait([living, *working], return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()  # a part that failed takes the pod down, loudly
            report = await living
            code = 0 if report is None else await self._end(given, report)
            await tidied(host)
            return code
        finally:
            for task in working:
                task.cancel()

    def _host(self, shipper: Shipper, store: str) -> Host:
        data = self._settings.data_dir
        return Host(
            self._settings,
            self._runner,
            shipper,
            Depot(self._api, lambda: store, data / "cache"),
            Folders(data / "attempts"),
            ThreadPoolExecutor(_MOVES_AT_ONCE, "move"),
            ThreadPoolExecutor(_MOVES_AT_ONCE, "publish"),
            OomWatch(),
            Allotted(inventory()),
            env=self._nodes.environment,
            publishes=self._nodes.leads,
        )

    async def _end(self, given: PodLease, report: Report) -> int:
        if report.reason is Reason.CANCELLED_BY_USER:
            return 0  # the launcher says so when all pods are gone
        if report.reason is not Reason.SUCCEEDED:
            return await self._report(given, self._nodes.signed(report))
        if self._nodes.leads:
            self._pulse.beat_now()
            while self._others_done < self._nodes.count - 1 and not self._gone:
                self._heard.clear()
                await self._heard.wait()
            return 0 if self._gone else await self._report(given, report)
        self._done = True
        await self._insist(self._beat_once)
        return 0

    @property
    def _gone(self) -> bool:
        return self._pulse.expired or (self._attempt is not None and self._attempt.lost)

    async def _report(self, given: PodLease, report: Report) -> int:
        last_words.leave(report.message)
        batch = ReportBatch(worker=given.worker, reports=(report,))
        try:
            late = bool((await self._insist(lambda: self._api.report(batch))).lost)
        except AuthenticationError:
            late = True
        if late:
            log.warning("The report came too late.")
        return 0 if report.reason is Reason.SUCCEEDED else 1

    async def _insist(self, work: Callable[[], Result], patience: float = math.inf) -> Result:
        """Do it until it is answered. Raises the NeutrinoError that trying again does not mend, and any after so many
        seconds."""
        backoff, until = Backoff(), clock() + patience
        while True:
            try:
                return await self._call(work)
            except NeutrinoError as error:
                if not error.retryable or clock() > until:
                    raise
                await backoff.wait(error)

    async def _call(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._calls, work)

    async def _send(self, batch: AppendBatch) -> Appended:
        said = self._nodes.signed_lines(batch)
        return await self._call(lambda: self._api.append(AppendBatch(appends=said))) if said else Appended()

    async def _beat(self) -> HeartbeatReply:
        reply = await self._call(self._beat_once)
        self._others_done = reply.done
        return reply

    def _beat_once(self) -> NodeReply:
        try:
            return self._api.node(NodeBeat(node=self._nodes.index, done=self._done))
        except AuthenticationError:  # the token is good as long as the attempt lives
            return NodeReply(lost=(self._settings.name,))

    async def _obey(self, reply: HeartbeatReply) -> None:
        assert self._attempt is not None
        if reply.lost:
            self._lose()
        elif reply.cancel:
            self._attempt.stop(DEAR if reply.dear else CANCELLED, self._settings.grace)
        elif reply.move:
            self._attempt.stop(MOVING, self._settings.drain)
        elif self._asked_to_go:
            self._attempt.stop(_DRAINED, self._settings.drain)
        if reply.checkpoint:
            self._attempt.want_checkpoint()
        self._heard.set()

    async def _watch(self, attempt: Execution) -> None:
        while True:
            await asyncio.sleep(_TICK)
            if self._pulse.expired and not attempt.lost:
                log.error("No answer from the API for too long: giving up.")
                self._lose()
            attempt.check_limits(proctree.parents())
            if self._nodes.leads:
                attempt.take_checkpoints()

    def _lose(self) -> None:
        if self._attempt is not None and not self._attempt.lost:
            self._attempt.lose()
        self._heard.set()

    def _on_signal(self) -> None:
        """The pod is to go. Whether that is a cancellation or a drain, the next heartbeat tells."""
        if self._asked_to_go and self._attempt is not None:
            self._attempt.kill()
        self._asked_to_go = True
        if self._attempt is not None:
            self._pulse.beat_now()
            asyncio.get_running_loop().call_later(
                self._settings.grace / 5, self._attempt.stop, _DRAINED, self._settings.drain
            )


def settings_from(env: dict[str, str]) -> Settings:
    """The settings of a pod. Raises NeutrinoError naming the variable that is missing."""
    path = env.get("NEUTRINO_TOKEN_FILE", "")
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except OSError as error:
        raise NeutrinoError(f"The token of the attempt cannot be read: {error}.") from error
    return Settings.from_env(
        {**env, "NEUTRINO_TOKEN": token, "REDIS_URL": "none", "NEUTRINO_SLOTS": "1", "NEUTRINO_POOL": "pod"}
    )


def main() -> int:
    """Run the attempt of this pod. Returns the exit code."""
    logs.configure("pod")
    try:
        settings = settings_from(dict(os.environ))
        nodes = Nodes.from_env(os.environ)
        proctree.hide_memory()
        home = Home.take(settings.data_dir, settings.name)
        runner = Runner(home.lock, home.folder, settings.most_processes, settings.slots)
        traces.configure("pod")  # it brings a thread, and the zygote must come first
        log.info("Pod %s, node %d of %d.", socket.gethostname(), nodes.index, nodes.count)
        try:
            return asyncio.run(Pod(settings, nodes, runner).run())
        finally:
            runner.close()
            traces.flush()
    except NeutrinoError as error:
        sys.stderr.write(f"neutrino pod: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    leave(main())
