"""What needs attention, in words: facts from the store go in, sentences come out. Pure, so that each can be tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from orchestrator.dashboard.formats import duration, number
from orchestrator.domain.state import Reason
from orchestrator.domain.views import ComponentView
from orchestrator.store.overview import Backlog, Failures, Silent, Unclaimed


@dataclass(frozen=True, slots=True)
class Concern:
    """Something for the operator. `at` is since when, `next` a command that helps."""

    kind: Literal["broken", "warning"]
    title: str
    detail: str
    link: str | None = None
    at: datetime | None = None
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the store knows that may need attention."""

    components: Sequence[ComponentView]
    failures: Sequence[Failures]
    backlog: Sequence[Backlog]
    unclaimed: Sequence[Unclaimed]
    silent: Sequence[Silent]
    overdue: int
    queued: int


_MISSED = {
    "cluster": "No launcher of it sends heartbeats: nothing new starts there, and what runs there is not seen.",
    "store": "Nobody has looked at it for a while.",
}
_PROCESSES = {"api": "API", "scheduler": "Scheduler"}


def _many(count: int, noun: str) -> str:
    return f"{number(count)} {noun}" if count == 1 else f"{number(count)} {noun}s"


def parts(facts: Facts) -> Iterator[Concern]:
    """Parts of the control plane that are not well."""
    for part in facts.components:
        if part.state == "broken":
            yield Concern("broken", f"{part.kind.capitalize()} {part.name}", part.detail, at=None)
        if part.state == "silent" and part.kind in _MISSED:
            yield Concern(
                "broken",
                f"{part.kind.capitalize()} {part.name} is silent",
                f"{_MISSED[part.kind]} Last heard: {part.detail}",
                link="/queues",
                at=part.seen_at,
            )
        if part.state == "gone" and part.kind in _PROCESSES:
            yield Concern(
                "warning",
                f"{_PROCESSES[part.kind]} {part.name} is gone",
                "It ended without saying so: it was killed, or its machine is down. Others of its kind go on.",
                at=part.seen_at,
            )
    alive = {part.kind for part in facts.components if part.alive}
    if "scheduler" not in alive:
        yield Concern(
            "broken",
            "No scheduler is alive",
            f"Nothing is placed: {_many(facts.queued, 'job')} of this workspace wait.",
            next="neutrino doctor",
        )


def contradictions(facts: Facts) -> Iterator[Concern]:
    """Where the database says one thing and the broker or the workers do another."""
    for one in facts.unclaimed:
        sent = f"{_many(one.jobs, 'job')} sent to it, the first {duration(one.seconds)} ago"
        if not one.workers:
            yield Concern(
                "broken",
                f"Pool {one.pool} has jobs and no worker",
                f"The database has {sent}; no worker of the pool sends heartbeats. They go elsewhere when another "
                "pool fits.",
                link="/queues",
            )
        elif one.free:
            yield Concern(
                "broken",
                f"Pool {one.pool} has free slots and claims nothing",
                f"The database has {sent}, and {_many(one.free, 'free slot')}; its workers are alive and do not come. "
                "Either the broker loses bells, or the workers do not listen.",
                link="/queues",
            )
    if facts.overdue:
        yield Concern(
            "broken",
            f"{_many(facts.overdue, 'attempt')} run on leases that are over",
            "Their workers have stopped answering, and no scheduler has ended them.",
        )


def workers(facts: Facts) -> Iterator[Concern]:
    """Workers that have fallen silent, those with jobs first."""
    holding = [worker for worker in facts.silent if worker.running]
    for worker in holding:
        yield Concern(
            "broken",
            f"Worker {worker.name} is silent and holds {_many(worker.running, 'job')}",
            f"It was last heard of in pool {worker.pool}. Its jobs are tried again elsewhere when their leases end.",
            link="/workers",
            at=worker.since,
        )
    gone = [worker for worker in facts.silent if not worker.running]
    if gone:
        names = ", ".join(worker.name for worker in gone[:4]) + (" …" if len(gone) > 4 else "")
        yield Concern(
            "warning",
            f"{_many(len(gone), 'worker')} fell silent within the last day",
            f"{names}: gone without a drain, and without a job.",
            link="/workers",
            at=gone[0].since,
        )


def jobs(facts: Facts) -> Iterator[Concern]:
    """What failed in the last day by reason, and what waits for nothing."""
    for one in facts.failures:
        bad = one.reason == Reason.QUARANTINED
        title = f"{_many(one.jobs, 'job')} quarantined" if bad else f"{_many(one.jobs, 'job')} failed: {one.reason}"
        yield Concern(
            "broken" if bad else "warning",
            title,
            f"{one.name} ({one.newest}): {one.message}",
            link=f"/jobs?state=FAILED&reason={one.reason}",
            at=one.at,
            next=f"neutrino logs {one.newest}",
        )
    for wait in facts.backlog:
        if wait.long and wait.why.hint:  # without a hint it waits for its turn
            first = wait.why.job
            command = wait.why.hint.split("    ")[0] if wait.why.hint.startswith("neutrino ") else None
            yield Concern(
                "warning",
                f"{first} waits" if wait.jobs == 1 else f"{number(wait.jobs)} jobs like {first} wait",
                wait.why.message if command else f"{wait.why.message} {wait.why.hint}",
                link=f"/jobs/{first}",
                at=wait.since,
                next=command,
            )


def concerns(facts: Facts) -> list[Concern]:
    """Everything, what is broken first."""
    found = [*parts(facts), *contradictions(facts), *workers(facts), *jobs(facts)]
    return sorted(found, key=lambda concern: concern.kind != "broken")
