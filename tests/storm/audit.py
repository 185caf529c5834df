"""What must be true of a database and its stores once everything has settled, whatever happened before.

Nothing here trusts the code under test: states and times come from the rows, bytes from the files.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.rows import namedtuple_row

from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.state import TERMINAL, TRANSITIONS

_MOVES = {(move.source, move.target) for move in TRANSITIONS}


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that was broken, by whom, and how."""

    rule: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.detail}"


@dataclass(slots=True)
class Snapshot:
    """The rows of one moment, by job."""

    jobs: dict[int, Any] = field(default_factory=dict)
    events: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    chunks: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    artifacts: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    metrics: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))


_TABLES = {
    "events": "SELECT * FROM events ORDER BY job_id, id",
    "attempts": "SELECT * FROM attempts ORDER BY job_id, epoch",
    "chunks": "SELECT * FROM log_chunks ORDER BY job_id, epoch, first_line",
    "artifacts": "SELECT a.*, r.store, r.prefix FROM artifacts a LEFT JOIN replicas r ON artifact_id = id ORDER BY id",
    "metrics": "SELECT * FROM metrics ORDER BY job_id, epoch, name, step",
}


def connect(url: str) -> psycopg.Connection[Any]:
    """A connection whose rows have names. `url` is SQLAlchemy's or libpq's."""
    rows: Any = namedtuple_row  # what its rows hold only the statement knows
    return psycopg.connect(url.replace("+psycopg", "", 1), row_factory=rows)


def read(url: str) -> Snapshot:
    """Everything that the rules look at, as of one moment."""
    found = Snapshot()
    with connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        found.jobs = {row.id: row for row in connection.execute("SELECT * FROM jobs ORDER BY id")}
        for name, statement in _TABLES.items():
            rows = getattr(found, name)
            for row in connection.execute(statement):
                rows[row.job_id].append(row)
    return found


def _ended(job: Any, _of: Snapshot) -> Iterator[str]:
    if job.state not in TERMINAL:
        yield f"is {job.state} ({job.reason}): {job.message}"


def _one_terminal(job: Any, of: Snapshot) -> Iterator[str]:
    events = of.events[job.id]
    ends = sum(event.target in TERMINAL for event in events)
    runs = 1 + sum(event.reason == "retried_by_user" for event in events)
    if ends != runs:
        yield f"{ends} terminal events for {runs} runs"


def _legal(job: Any, of: Snapshot) -> Iterator[str]:
    state, epoch, at = None, 0, None
    for event in of.events[job.id]:
        move = f"event {event.id} {event.source} → {event.target}"
        if event.source != state:
            yield f"{move} follows {state}"
        if event.source == event.target and event.epoch == epoch:  # a note: something happened, and nothing moved
            continue
        if (state is None and event.target != "QUEUED") or (state is not None and (state, event.target) not in _MOVES):
            yield f"{move} is not allowed"
        if event.epoch != epoch + (event.target == "RUNNING"):
            yield f"{move} of epoch {event.epoch} follows epoch {epoch}"
        if at is not None and event.at < at:
            yield f"{move} at {event.at} follows one at {at}"
        state, epoch, at = event.target, event.epoch, event.at
    if (state, epoch) != (job.state, job.epoch):
        yield f"its history ends {state} in epoch {epoch}, and it is {job.state} in epoch {job.epoch}"


def _attempts(job: Any, of: Snapshot) -> Iterator[str]:
    attempts = of.attempts[job.id]
    epochs = [attempt.epoch for attempt in attempts]
    if epochs != list(range(1, job.epoch + 1)):
        yield f"attempts {epochs} in epoch {job.epoch}"
    for attempt in attempts:
        if attempt.finished_at is None:
            yield f"attempt {attempt.epoch} has not ended"
    for one, other in itertools.pairwise(attempts):
        if one.finished_at and one.finished_at > other.started_at:
            yield f"attempt {other.epoch} began at {other.started_at}, attempt {one.epoch} ended at {one.finished_at}"
    succeeded = [attempt.epoch for attempt in attempts if attempt.state == "SUCCEEDED"]
    if succeeded != ([job.epoch] if job.state == "SUCCEEDED" else []):
        yield f"is {job.state} in epoch {job.epoch}, and these attempts succeeded: {succeeded}"


def _fenced(job: Any, of: Snapshot) -> Iterator[str]:
    attempts = {attempt.epoch: attempt for attempt in of.attempts[job.id]}
    effects = [(chunk.epoch, chunk.stored_at, f"log lines from {chunk.first_line}") for chunk in of.chunks[job.id]]
    effects += [(one.epoch, one.created_at, f"{one.kind} {encode('a', one.id)}") for one in of.artifacts[job.id]]
    effects += [(event.epoch, event.at, f"event {event.id} ({event.target})") for event in of.events[job.id]]
    for epoch, at, what in effects:
        newer = attempts.get(epoch + 1)
        if newer is not None and at > newer.started_at:
            yield f"epoch {epoch} had an effect at {at}, after epoch {epoch + 1} began at {newer.started_at}: {what}"
    # An output is registered by the statement after the one that ends its attempt; all else comes before the end.
    during = [(one.epoch, one.stored_at, "log lines") for one in of.chunks[job.id]]
    during += [(one.epoch, one.created_at, "checkpoint") for one in of.artifacts[job.id] if one.kind == "checkpoint"]
    for epoch, at, what in during:
        own = attempts.get(epoch)
        if own is None or at < own.started_at or (own.finished_at is not None and at > own.finished_at):
            yield f"{what} of epoch {epoch} at {at}, outside of its attempt"


def _log(job: Any, of: Snapshot) -> Iterator[str]:
    expected: dict[int, int] = defaultdict(lambda: 1)
    for chunk in of.chunks[job.id]:
        if chunk.first_line != expected[chunk.epoch] or chunk.last_line - chunk.first_line + 1 != len(chunk.lines):
            yield f"line {expected[chunk.epoch]} of epoch {chunk.epoch} is followed by {chunk.first_line}"
        expected[chunk.epoch] = chunk.last_line + 1


def _outputs(job: Any, of: Snapshot) -> Iterator[str]:
    outputs = [one.epoch for one in of.artifacts[job.id] if one.kind != "checkpoint"]
    if outputs and (job.state != "SUCCEEDED" or outputs != [job.epoch]):
        yield f"is {job.state} in epoch {job.epoch} and has outputs of epochs {outputs}"


def _bytes(job: Any, of: Snapshot) -> Iterator[str]:
    for artifact in of.artifacts[job.id]:
        for fault in _damage(artifact):
            yield f"{artifact.kind} {encode('a', artifact.id)} of epoch {artifact.epoch}: {fault}"


def location(artifact: Any) -> Path:
    """The folder of an artifact."""
    return folder_of(artifact.store, artifact.prefix)


def folder_of(store: str, prefix: str) -> Path:
    """Where a prefix of a store on this machine lies."""
    return Path(unquote(urlsplit(store).path), prefix)


def _damage(artifact: Any) -> Iterator[str]:
    if artifact.store is None:
        yield "has no replica"
        return
    folder = location(artifact)
    if str(AttemptId(artifact.job_id, artifact.epoch)) not in artifact.prefix.split("/"):
        yield f"lies below the prefix of another attempt: {artifact.prefix}"
    if not (folder / "manifest.json").is_file():
        yield f"has no manifest at {folder}"
        return
    manifest = (folder / "manifest.json").read_bytes()
    if hashlib.sha256(manifest).digest() != bytes(artifact.digest):
        yield "its manifest does not have its digest"
    files = json.loads(manifest)["files"]
    if (len(files), sum(file["size"] for file in files)) != (artifact.files, artifact.size):
        yield "the manifest's files and sizes are not the row's"
    for file in files:
        path = folder / file["path"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            yield f"{file['path']} does not have the bytes that the manifest says"


RULES: dict[str, Callable[[Any, Snapshot], Iterator[str]]] = {
    "every job ends": _ended,
    "each run ends once": _one_terminal,
    "histories are legal and gapless": _legal,
    "attempts follow one another": _attempts,
    "only the current epoch has effects": _fenced,
    "logs have no gaps": _log,
    "only the successful attempt has an output": _outputs,
    "every artifact's bytes are what its manifest says": _bytes,
}
"""By name: what is checked of every job, as a function that yields faults."""


def audit(found: Snapshot) -> list[Violation]:
    """Every broken rule of every job."""
    return [
        Violation(rule, encode("j", job.id), fault)
        for rule, faults in RULES.items()
        for job in found.jobs.values()
        for fault in faults(job, found)
    ]
