"""One attempt in the eyes of its launcher: what is known of its pods, what is said about it, and how it ended."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloud_adapters.compute import STRANDED_AFTER, Compute, Phase, Piece, Status, Work
from cloud_adapters.compute_errors import ComputeError, OverQuota, WorkRefused
from orchestrator.domain.ids import decode_attempt, encode
from orchestrator.domain.protocol import Lease, PodWait
from orchestrator.domain.state import Reason
from orchestrator.domain.transfer import read
from workers.backoff import Backoff
from workers.zygote import clock

Ending = tuple[Reason, str, int | None]
Move = Callable[[Callable[[], None]], Awaitable[None]]

COMMAND = ("python", "-P", "-m", "workers.pod")  # -P: what lies in the working folder is the job's, not ours
JOB_LABEL, EPOCH_LABEL = "neutrino/job", "neutrino/epoch"
_BEATS_TO_BE_SURE = 2  # the first one may have been on its way already
_LOOK_AGAIN = 0.5
_MOVED = "It goes on in another cloud; its pod had not started yet."
START_PATIENCE = 600.0  # seconds in which an image that cannot be pulled, or a Secret that is missing, may still come
QUOTA_PATIENCE = 30.0  # a quota is given back by jobs that end; another pool is often sooner
_QUOTAS = {"exceeded quota": QUOTA_PATIENCE, "insufficient unused quota": math.inf, "insufficient quota": math.inf}
"""What a ResourceQuota says, and what Kueue says, whose queue is there to wait in."""
_MARGIN = 600.0  # seconds for an image and the inputs, beside the job's own timeout


def work_name(attempt: str) -> str:
    """`j-7f3k1.2` as `j-7f3k1-2`, which is a name that Kubernetes takes."""
    return attempt.replace(".", "-")


class Flight:
    """`task` is set while its Job is being made. `over`: its row has ended, or our report of that is on its way.
    `stranded`: what is left of its pods is on nodes that do not answer, and takes nobody's place."""

    def __init__(self, attempt: str) -> None:
        self.attempt = attempt
        self.work = work_name(attempt)
        self.task: asyncio.Task[None] | None = None
        self.over = self.cancelling = self.draining = self.moving = self.terminating = self.clearing = False
        self.stranded = False
        self.verdict: Ending | None = None
        self.wait: PodWait | None = None
        self._told: PodWait | None = None
        self._had_pieces = self._begun = False
        self.seen = False
        self._ended_at: int | None = None
        self._lacking_since: float | None = None
        self._stuck_since: float | None = None

    @property
    def unwanted(self) -> bool:
        """Whether no pod shall be made for it any more."""
        return self.over or self.cancelling or self.draining or self.moving

    @staticmethod
    def attempt_of(work: str) -> str:
        """The attempt whose work has this name."""
        job, _, epoch = work.rpartition("-")
        return f"{job}.{epoch}"

    def say(self, reason: Reason, message: str) -> None:
        """What the job shall show until something else is said."""
        self.wait = PodWait(attempt=self.attempt, reason=reason, message=message[:2048])

    def news(self) -> PodWait | None:
        """What has not been told yet."""
        if self.wait == self._told:
            return None
        self._told = self.wait
        return self.wait

    def unheard(self) -> None:
        """What was told last did not arrive."""
        self._told = None

    def take(self, status: Status | None, beats: int, patience: float | None = None) -> bool:
        """Look at its pods; `beats` counts the heartbeats so far. True when the API should hear, or be asked, soon.
        After `patience` seconds without a node, or less without a quota, the job had better look elsewhere; what stands
        in the way of its containers for START_PATIENCE is believed to stay.

        That all pods have ended does not mean that nobody has reported: the pods do that themselves. Only when the API,
        asked after that, says that the attempt still lives, the end is ours to report."""
        before = self.wait
        if status is not None:
            self.seen = True
            self._had_pieces |= bool(status.pieces)
            self._begun |= len(status.pieces) >= status.wanted or any(piece.phase.over for piece in status.pieces)
            if self._begun:
                status = replace(status, why="")  # old news: events outlive what they tell of
        if self._ended(status):
            if self._ended_at is None:
                self._ended_at = beats
            if self.cancelling or beats >= self._ended_at + _BEATS_TO_BE_SURE:
                self.verdict = self._ending(status)
            return True
        self._ended_at = None
        if status is not None:
            self._describe(status)
        self._lose_patience(status, patience)
        return self.wait != before

    def _lose_patience(self, status: Status | None, patience: float | None) -> None:
        """What it waits for has not come for too long, or never will: that is its end here."""
        lacks = None if status is None else _lacks(status)
        self._lacking_since = (self._lacking_since or clock()) if lacks else None
        for_long = 0.0 if self._lacking_since is None else clock() - self._lacking_since
        if patience is not None and lacks is not None and for_long > min(patience, lacks[1]):
            self.verdict = (lacks[0], self.wait.message if self.wait else "", None)
        if self._stuck_since is not None and clock() - self._stuck_since > START_PATIENCE and self.wait is not None:
            text = f"Kubernetes tried for {START_PATIENCE / 60:.0f} minutes. {self.wait.message}"
            self.verdict = (self.wait.reason, text, None)
        if status is not None and (lost := next(filter(_deserted, status.pieces), None)) is not None:
            text = f"Node {lost.index} was evicted from {lost.place}, and {lost.place} does not answer."
            self.verdict = (Reason.PREEMPTED, text, None)
        if self.moving and status is not None and all(piece.phase is not Phase.RUNNING for piece in status.pieces):
            self.verdict = (Reason.MIGRATING, _MOVED, None)  # a pod that runs is told itself, and checkpoints first

    def must_go(self, status: Status | None) -> bool:
        """Whether its pods are to be asked to end."""
        if status is None or self.terminating or self._ended(status):
            return False
        return self.cancelling or self.draining or status.doomed

    def _ended(self, status: Status | None) -> bool:
        if status is None:
            return self.seen
        if status.pieces:
            return status.gone
        return self._had_pieces or status.doomed

    def _ending(self, status: Status | None) -> Ending:
        if self.cancelling:
            return Reason.CANCELLED_BY_USER, "Cancelled.", None
        failed = None if status is None else status.telling
        if failed is not None and failed.phase is Phase.FAILED and failed.reason is not None:
            return failed.reason, failed.message, failed.exit_code
        if self.draining:
            return Reason.PREEMPTED, "Its cluster is being drained.", None
        if failed is None:
            return Reason.PREEMPTED, "Its pod was deleted, and nobody saw its end.", None
        return Reason.INFRA_ERROR, "Its pods ended without a report.", None

    def _describe(self, status: Status) -> None:
        told = status.telling
        stuck = told is not None and told.phase is Phase.STARTING and told.reason is not Reason.POD_STARTING
        self._stuck_since = (self._stuck_since or clock()) if stuck else None
        if told is not None and told.hopeless and told.reason is not None:
            self.verdict = (told.reason, told.message, None)
        elif status.why:
            made = f"only {len(status.pieces)} of {status.wanted} pods" if status.pieces else "no pod"
            refused = Reason.QUOTA_EXCEEDED if _no_quota(status) is not None else Reason.POD_REFUSED
            self.say(refused, f"Kubernetes makes {made}: {status.why}")
        elif told is None:
            self.say(Reason.POD_STARTING, "Waiting for its pod.")
        elif told.phase is Phase.RUNNING:
            places = sorted({piece.place for piece in status.pieces if piece.place})
            self.say(Reason.CLAIMED, f"Running in {self.work} on {', '.join(places)}.")
        elif told.reason is not None:
            self.say(told.reason, told.message)


def _deserted(piece: Piece) -> bool:
    """Whether nobody will ever tell the end of a piece that the cluster has given up. The first one that runs has the
    lease: as long as it renews that it is well, whatever the cluster thinks of its node."""
    leads = piece.index == 0 and piece.phase is Phase.RUNNING
    return not leads and piece.stranded(time.time())


def _lacks(status: Status) -> tuple[Reason, float] | None:
    """What there is not enough of here for a job that has not begun, and for how many seconds it waits for that at
    most, however patient its pool is."""
    if (most := _no_quota(status)) is not None:
        return Reason.QUOTA_EXCEEDED, most
    told = status.telling
    return (Reason.NO_CAPACITY, math.inf) if told is not None and told.reason is Reason.UNSCHEDULABLE else None


def _no_quota(status: Status) -> float | None:
    """For how many seconds at most it waits for a quota that it needs; None when it needs none."""
    return next((most for words, most in _QUOTAS.items() if words in status.why), None)


def _waits_for(before: list[Status]) -> str:
    """What is left of earlier attempts, on which nodes, and how long it is waited for."""
    pieces = [piece for status in before for piece in status.pieces if not piece.phase.over]
    said = []
    for status in before:
        places = sorted({piece.place for piece in status.pieces if piece.place and not piece.phase.over})
        said.append(f"{status.name} ({', '.join(places)})" if places else status.name)
    text = f"Waiting until the pods of {', '.join(said)} are gone."
    times = [piece.gone_by for piece in pieces if piece.gone_by is not None]
    if len(times) < len(pieces) or not times:
        return text
    until = time.strftime("%H:%M:%S", time.gmtime(max(times) + STRANDED_AFTER))
    return f"{text} Should their nodes not answer, it goes on without that at {until} UTC."


@dataclass(frozen=True, slots=True)
class Launching:
    """Makes an attempt's pods. `env` is what every pod of this pool is told; times in seconds."""

    env: Mapping[str, str]
    grace: float
    drain: float
    patience: float | None = None

    def work(self, lease: Lease) -> Work:
        """What a lease asks for. Raises InvalidSpec for a job that this release cannot read."""
        spec, attempt = read(lease.document), decode_attempt(lease.attempt)
        needs = spec.resources
        return Work(
            name=work_name(lease.attempt),
            command=COMMAND,
            env={**self.env, "NEUTRINO_WORKER_NAME": work_name(lease.attempt)},
            token=lease.token,
            image=spec.image,
            labels={JOB_LABEL: encode("j", attempt.job_id), EPOCH_LABEL: str(attempt.epoch)},
            secrets=spec.secrets,
            nodes=needs.nodes,
            cpu=needs.cpu,
            memory=needs.memory,
            gpu=needs.gpu,
            deadline=lease.timeout_seconds + self.drain + _MARGIN,
            grace=self.drain + self.grace + 10.0,
        )

    async def launch(
        self, flight: Flight, work: Any, compute: Compute, move: Move, speak: Callable[[], None]
    ) -> Ending | None:
        """Make the pods once those of the attempt before are gone. Returns how the attempt ends when that cannot be."""
        await self._predecessors_gone(flight, compute, move, speak)
        backoff = Backoff()
        while not flight.unwanted:
            try:
                await move(lambda: compute.launch(work))
            except OverQuota as error:
                return Reason.QUOTA_EXCEEDED, f"The cluster has no quota left for it. {error}", None
            except WorkRefused as error:
                return Reason.POD_REFUSED, f"The cluster refuses it. {error}", None
            except ComputeError as error:
                if not error.retryable:
                    return Reason.INFRA_ERROR, f"Its pod cannot be made. {error}", None
                flight.say(Reason.POD_STARTING, f"Its pod cannot be made yet. {error}")
                speak()
                await backoff.wait(error)
            else:
                return None
        if flight.over:
            return None
        if flight.cancelling:
            return Reason.CANCELLED_BY_USER, "Stopped before its pod was made.", None
        if flight.moving:
            return Reason.MIGRATING, _MOVED, None
        return Reason.PREEMPTED, "Stopped before its pod was made.", None

    async def _predecessors_gone(self, flight: Flight, compute: Compute, move: Move, speak: Callable[[], None]) -> None:
        """Two attempts of one job shall not run at once. The lease of the one before is over, so its pods have given
        up by themselves; they are asked to go, and waited for. Those on nodes that do not answer are not waited for
        any longer once they had their time: whatever they may still do has no effect."""
        job = flight.work.rpartition("-")[0]
        asked: set[str] = set()
        while not flight.unwanted:
            there = [
                status
                for name, status in compute.inventory().items()
                if name != flight.work
                and name.rpartition("-")[0] == job
                and not (status.gone or status.stranded(time.time()))
            ]
            if not there:
                return
            flight.say(Reason.POD_STARTING, _waits_for(there))
            speak()
            for name in {status.name for status in there} - asked:
                try:
                    await move(lambda name=name: compute.terminate(name))  # type: ignore[misc]
                    asked.add(name)
                except ComputeError:
                    continue  # it is asked again at the next look
            await asyncio.sleep(_LOOK_AGAIN)
