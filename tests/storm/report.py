"""Prints what a storm did and what the oracle says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.domain.ids import decode
from tests.storm import audit, oracle
from tests.storm.audit import Snapshot
from tests.storm.plan import Kind
from tests.storm.storm import Outcome

_SHOWN = 20
_HISTORIES = 5


def show(outcome: Outcome, title: str) -> None:
    """The tables; then, for the first violations, all that helps to understand them."""
    console = Console(highlight=False, soft_wrap=True)
    found = outcome.found
    jobs = Counter(str(job.state) for job in found.jobs.values())
    reasons = Counter(str(one.reason) for attempts in found.attempts.values() for one in attempts)
    accepted = sum(one.job is not None for one in outcome.submissions)
    console.print(f"[bold]{title}[/]")
    _table(
        console, "Jobs", {"submitted": len(outcome.submissions), "accepted": accepted, "stored": len(found.jobs)} | jobs
    )
    _table(console, "Attempts", {"all": reasons.total()} | dict(sorted(reasons.items())))
    _table(console, "Users were told", dict(sorted(outcome.answers.items())))
    struck = {f"{kind}": outcome.done[kind] for kind in Kind}
    _table(console, "Faults", {"all": outcome.done.total(), "found nobody to hit": outcome.missed.total()} | struck)
    _table(console, "The zombie said", outcome.said)
    _verdicts(console, outcome)
    for violation in outcome.violations[:_SHOWN]:
        console.print(f"✗ {violation}", style="red", markup=False)
    if len(outcome.violations) > _SHOWN:
        console.print(f"… and {len(outcome.violations) - _SHOWN} more", style="red")
    for subject in list(dict.fromkeys(one.subject for one in outcome.violations if one.subject.startswith("j-")))[
        :_HISTORIES
    ]:
        _history(console, found, subject)


def _table(console: Console, title: str, rows: Mapping[str, int]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    for name, count in rows.items():
        table.add_row(str(name), str(count))
    console.print(table)


def _verdicts(console: Console, outcome: Outcome) -> None:
    broken = Counter(one.rule for one in outcome.violations)
    rules = dict.fromkeys([*audit.RULES, oracle.LOST, oracle.ONCE, *oracle.RULES, oracle.GHOST, *broken])
    table = Table(title="The oracle", title_justify="left", show_header=False)
    for rule in rules:
        table.add_row(rule, f"[red]✗ {broken[rule]}[/]" if broken[rule] else "[green]✓[/]")
    console.print(table)


def _history(console: Console, found: Snapshot, subject: str) -> None:
    """Everything about one job, in the order in which it happened."""
    job = decode("j", subject)
    moments = [
        (one.at, f"{one.epoch} {one.source} → {one.target}: {one.reason}, {one.actor}") for one in found.events[job]
    ]
    moments += [(one.started_at, _begin(one)) for one in found.attempts[job]]
    moments += [(one.finished_at, f"{one.epoch} ends: {one.reason}") for one in found.attempts[job] if one.finished_at]
    moments += [
        (one.created_at, f"{one.epoch} {one.kind}, step {one.step}: {one.prefix}") for one in found.artifacts[job]
    ]
    moments += [(one.stored_at, _chunk(one)) for one in found.chunks[job]]
    spec = found.jobs[job].document["spec"] if job in found.jobs else "no row"
    lines = [f"  {at:%H:%M:%S.%f} {text}" for at, text in sorted(moments)]
    console.print("\n".join([f"{subject}: {spec}", *lines]), markup=False)


def _begin(attempt: Any) -> str:
    resumed = "" if attempt.resumed_from_step is None else f" from step {attempt.resumed_from_step}"
    return f"{attempt.epoch} begins on worker {attempt.worker_id}{resumed}"


def _chunk(chunk: Any) -> str:
    texts = [text for _, _, text in chunk.lines]
    return f"{chunk.epoch} lines {chunk.first_line} to {chunk.last_line}: {texts[:3]} … {texts[-3:]}"
