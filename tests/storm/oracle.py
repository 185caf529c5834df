"""Compares what users were told with what the database and the stores hold, once everything has settled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.domain.ids import decode
from orchestrator.domain.retry import KILLS_BELIEVED, PEOPLES
from orchestrator.domain.state import TERMINAL, JobState
from tests.storm.audit import Snapshot, Violation, location
from tests.storm.clients import Answer, Submission
from tests.storm.workload import chain_of
from tests.storm.zombie import MARK


@dataclass(frozen=True, slots=True)
class Case:
    """A submission, the rows of the job that came of it, and everything else."""

    submission: Submission
    job: Any
    found: Snapshot

    @property
    def events(self) -> list[Any]:
        """The job's history."""
        return self.found.events[self.job.id]

    def requests(self, what: str, *answers: Answer) -> int:
        """How many requests of a kind were answered so."""
        return sum(asked == what and answer in answers for asked, answer in self.submission.requests)


def _shown(case: Case) -> Iterator[str]:
    """What was shown has happened, and is part of the history for ever."""
    happened = {(event.target, event.epoch) for event in case.events}
    for state, epoch in sorted(case.submission.seen):
        if (state, epoch) not in happened:
            yield f"was shown as {state} in epoch {epoch}; its history has no such moment"
    if any(state is JobState.SUCCEEDED for state, _ in case.submission.seen) and case.job.state != "SUCCEEDED":
        yield f"was shown as SUCCEEDED and is {case.job.state}"


def _retried(case: Case) -> Iterator[str]:
    """Each retry that was confirmed happened once; one without an answer, at most once."""
    happened = sum(event.reason == "retried_by_user" for event in case.events)
    least = case.requests("retry", Answer.DONE)
    if not least <= happened <= least + case.requests("retry", Answer.UNKNOWN):
        yield f"{happened} retries happened; the answers: {case.submission.requests}"


def _cancelled(case: Case) -> Iterator[str]:
    """Nobody's job is cancelled unasked, and a confirmed cancel is kept."""
    state = case.job.state
    if state == "CANCELLED" and not case.requests("cancel", Answer.DONE, Answer.UNKNOWN):
        yield "is CANCELLED, and nobody asked for that"
    counted = [(what, answer) for what, answer in case.submission.requests if answer is not Answer.REFUSED]
    if counted and counted[-1] == ("cancel", Answer.DONE) and state != "CANCELLED":
        yield f"was cancelled in the end, and is {state}; the answers: {counted}"
    if case.requests("cancel", Answer.REFUSED) and not any(event.target in TERMINAL for event in case.events):
        yield "a cancel was refused because it had ended, and it had not"


def _end(case: Case) -> Iterator[str]:
    """It ended as its code ends, unless it was cancelled or the storm wore its budgets out."""
    job, wanted = case.job, case.submission.recipe.ends
    if job.state in {wanted, "CANCELLED"} - {"FAILED"}:
        return
    if job.reason == "user_error" and wanted == "FAILED":
        if job.user_failures != case.submission.recipe.retries + 1:
            yield f"FAILED after {job.user_failures} errors of its own, with {case.submission.recipe.retries} retries"
    elif job.state != "FAILED":
        yield f"is {job.state} ({job.reason}), and its code makes it {wanted}"
    elif job.reason == "quarantined":
        lost = sum(attempt.state == "LOST" for attempt in case.found.attempts[job.id])
        if lost < PEOPLES.deaths:
            yield f"is quarantined after {lost} lost attempts"
    elif job.reason == "killed" and job.user_failures > case.submission.recipe.retries:
        killed = sum(attempt.reason == "killed" for attempt in case.found.attempts[job.id])
        if killed <= KILLS_BELIEVED:
            yield f"FAILED as if it had killed itself, after {killed} kills"
    elif job.infra_failures <= PEOPLES.infra:
        yield f"FAILED ({job.reason}: {job.message}) after {job.infra_failures} failures of infrastructure"


def _lines(case: Case) -> Iterator[str]:
    """Each attempt wrote its lines in order and without holes; the successful one wrote all of them."""
    count = case.submission.recipe.lines
    if count is None:
        return
    told: dict[int, list[str]] = {}
    for chunk in case.found.chunks[case.job.id]:
        told.setdefault(chunk.epoch, []).extend(text for _, stream, text in chunk.lines if stream == "stdout")
    for epoch, texts in told.items():
        wanted = [f"line {number}" for number in range(len(texts))]
        if texts != wanted:
            yield f"epoch {epoch} wrote {texts[:5]} … {texts[-5:]}"
    if case.job.state != "SUCCEEDED":
        return
    if len(told.get(case.job.epoch, [])) != count:
        yield f"succeeded in epoch {case.job.epoch} with {len(told.get(case.job.epoch, []))} lines of {count}"
    points = [(row.step, row.value) for row in case.found.metrics[case.job.id] if row.epoch == case.job.epoch]
    if points != [(number, number) for number in range(count)]:
        yield f"succeeded in epoch {case.job.epoch} with {len(points)} points of {count}"


def _chain(case: Case) -> Iterator[str]:
    """No checkpoint that the job was told is stored was lost, and the result is that of an undisturbed run."""
    count = case.submission.recipe.chain
    if count is None:
        return
    saved = 0
    texts = {epoch: list(_texts(case, epoch)) for epoch in range(1, case.job.epoch + 1)}
    for attempt in case.found.attempts[case.job.id]:
        if (attempt.resumed_from_step or 0) < saved:
            yield f"epoch {attempt.epoch} resumed from {attempt.resumed_from_step} although {saved} was saved"
        steps = [int(text.split()[1]) for text in texts.get(attempt.epoch, ()) if text.startswith("saved ")]
        saved = max([saved, *steps])
    if case.job.state == "SUCCEEDED":
        outputs = [one for one in case.found.artifacts[case.job.id] if one.kind == "output"]
        results = [(location(one) / "result").read_text() for one in outputs]
        if results != [chain_of(count)]:
            yield f"succeeded with the results {results} instead of {chain_of(count)}"


def _texts(case: Case, epoch: int) -> Iterator[str]:
    for chunk in case.found.chunks[case.job.id]:
        if chunk.epoch == epoch:
            yield from (text for _, stream, text in chunk.lines if stream == "stdout")


RULES: Mapping[str, Callable[[Case], Iterator[str]]] = {
    "what was shown has happened": _shown,
    "retries happen as answered": _retried,
    "cancels happen as answered": _cancelled,
    "jobs end as their code does": _end,
    "every line and number is kept": _lines,
    "checkpoints carry over": _chain,
}
"""By name: what is checked of every job that a user knows of."""

LOST = "nothing accepted is lost"
ONCE = "one request, one job"
GHOST = "nothing of a zombie counts"


def judge(submissions: Sequence[Submission], found: Snapshot) -> Iterator[Violation]:
    """Every broken rule of every submission."""
    by_number: dict[str, list[Any]] = {}
    for job in found.jobs.values():
        by_number.setdefault(job.labels.get("storm", ""), []).append(job)
    for one in submissions:
        jobs = by_number.pop(one.number, [])
        if len(jobs) > 1:
            yield Violation(ONCE, one.number, f"there are {len(jobs)} jobs of it")
        if one.job is None:
            continue
        if decode("j", one.job) not in {job.id for job in jobs}:
            yield Violation(LOST, one.job, f"was accepted as {one.number} and is not there")
            continue
        case = Case(one, jobs[0], found)
        for rule, faults in RULES.items():
            yield from (Violation(rule, one.job, fault) for fault in faults(case))
    for number, jobs in by_number.items():
        yield Violation(ONCE, number, f"there are {len(jobs)} jobs that nobody submitted")


def ghosts(found: Snapshot) -> Iterator[Violation]:
    """Traces of the zombie, which spoke for nobody but the dead."""
    for job in found.jobs:
        traces = [f"metric of epoch {row.epoch}" for row in found.metrics[job] if row.name == MARK]
        traces += [f"note of epoch {row.epoch}" for row in found.attempts[job] if row.note == MARK]
        traces += [f"{row.kind} of epoch {row.epoch}" for row in found.artifacts[job] if MARK in (row.prefix or "")]
        traces += [f"event {row.id} ({row.target})" for row in found.events[job] if MARK in row.message]
        for chunk in found.chunks[job]:
            if any(text == MARK for _, _, text in chunk.lines):
                traces.append(f"log line of epoch {chunk.epoch}")
        yield from (Violation(GHOST, str(job), trace) for trace in traces)
