"""The oracle's rules, each broken once: a judge that never condemns proves nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.domain.artifact import Manifest, ManifestFile
from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.state import JobState
from tests.storm import audit, oracle
from tests.storm.audit import Snapshot
from tests.storm.clients import Answer, Submission
from tests.storm.recipes import Recipe
from tests.storm.workload import chain_of
from tests.storm.zombie import MARK

JOB = 5000
STEPS = 3
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_HISTORY = [
    (0, None, "QUEUED", "submitted"),
    (0, "QUEUED", "DISPATCHED", "placed"),
    (1, "DISPATCHED", "RUNNING", "claimed"),
    (1, "RUNNING", "QUEUED", "lease_lost"),
    (1, "QUEUED", "DISPATCHED", "placed"),
    (2, "DISPATCHED", "RUNNING", "claimed"),
    (2, "RUNNING", "SUCCEEDED", "succeeded"),
]


def _at(second: float) -> datetime:
    return _BEGAN + timedelta(seconds=second)


def _artifact(folder: Path, number: int, kind: str, epoch: int, second: float, content: str) -> Any:
    prefix = f"artifacts/1/{AttemptId(JOB, epoch)}/{kind}-{number}"
    place = folder / prefix
    place.mkdir(parents=True)
    (place / "result").write_text(content)
    file = ManifestFile(path="result", size=len(content), sha256=hashlib.sha256(content.encode()).hexdigest())
    manifest = Manifest.of([file])
    (place / "manifest.json").write_bytes(manifest.to_bytes())
    return SimpleNamespace(
        id=number, job_id=JOB, epoch=epoch, kind=kind, created_at=_at(second), digest=bytes.fromhex(manifest.digest),
        files=1, size=len(content), store=folder.as_uri(), prefix=prefix, step=None,
    )  # fmt: skip


def _chunk(epoch: int, first: int, second: float, *texts: str) -> Any:
    return SimpleNamespace(
        epoch=epoch, first_line=first, last_line=first + len(texts) - 1, stored_at=_at(second),
        lines=[[0.0, "stdout", text] for text in texts],
    )  # fmt: skip


class World:
    """One job that lost its first worker, resumed and succeeded, and what its user was told."""

    def __init__(self, folder: Path) -> None:
        lines = [f"line {number}" for number in range(STEPS)]
        self.submission = Submission(
            "user-0-0", Recipe(lines=STEPS), encode("j", JOB), seen={(JobState.QUEUED, 0), (JobState.SUCCEEDED, 2)}
        )
        self.job = SimpleNamespace(
            id=JOB, state="SUCCEEDED", reason="succeeded", message="Done.", epoch=2, labels={"storm": "user-0-0"},
            infra_failures=1, user_failures=0,
        )  # fmt: skip
        self.events = [
            SimpleNamespace(id=n, epoch=epoch, source=source, target=target, reason=reason, at=_at(n), message="")
            for n, (epoch, source, target, reason) in enumerate(_HISTORY)
        ]
        self.attempts = [
            SimpleNamespace(
                epoch=1, state="LOST", started_at=_at(2), finished_at=_at(3), note=None, resumed_from_step=None
            ),
            SimpleNamespace(
                epoch=2, state="SUCCEEDED", started_at=_at(5), finished_at=_at(6), note=None, resumed_from_step=1
            ),
        ]
        self.chunks = [_chunk(1, 1, 2.5, *lines[:2]), _chunk(2, 1, 5.4, *lines[:2]), _chunk(2, 3, 5.5, lines[2])]
        self.metrics = [SimpleNamespace(epoch=2, name="number", step=n, value=float(n)) for n in range(STEPS)]
        self.artifacts = [
            _artifact(folder, 1, "checkpoint", 1, 2.6, "state"),
            _artifact(folder, 2, "output", 2, 6.1, chain_of(STEPS)),
        ]

    def broken(self) -> set[str]:
        found = Snapshot(jobs={JOB: self.job})
        for name in ("events", "attempts", "chunks", "metrics", "artifacts"):
            getattr(found, name)[JOB] = getattr(self, name)
        violations = [*audit.audit(found), *oracle.judge([self.submission], found), *oracle.ghosts(found)]
        return {violation.rule for violation in violations}

    def make_chain(self) -> None:
        """The same job as one that checkpoints."""
        self.submission.recipe = Recipe(chain=STEPS)
        self.chunks = [_chunk(1, 1, 2.5, "begin after 0", "saved 1"), _chunk(2, 1, 5.4, "begin after 1", "saved 2")]

    def fail(self, reason: str) -> None:
        """The same job as one that failed in the end."""
        self.job.state, self.job.reason = "FAILED", reason
        self.events[-1].target = self.attempts[-1].state = "FAILED"
        self.submission.seen.clear()
        del self.artifacts[1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_good_world_is_left_in_peace(world: World) -> None:
    assert world.broken() == set()
    world.make_chain()
    assert world.broken() == set()


def _append_end(world: World) -> None:
    world.events.append(SimpleNamespace(**vars(world.events[-1]) | {"id": 9}))


def _damage(world: World) -> None:
    (audit.location(world.artifacts[1]) / "result").write_text("damaged")


def _retry_unconfirmed(world: World) -> None:
    world.submission.requests.append(("retry", Answer.DONE))


def _cancel_ignored(world: World) -> None:
    world.submission.requests.append(("cancel", Answer.DONE))


def _lose_checkpoint(world: World) -> None:
    world.make_chain()
    world.attempts[1].resumed_from_step = None


def _fail_early(world: World) -> None:
    world.fail("user_error")
    world.submission.recipe = Recipe(ends=JobState.FAILED, retries=1)
    world.job.user_failures = 1


def _wrong_result(world: World) -> None:
    world.make_chain()
    world.submission.recipe = Recipe(chain=STEPS + 1)


_BREAKS: dict[str, tuple[str, Callable[[World], Any]]] = {
    "a job that never ends": ("every job ends", lambda w: setattr(w.job, "state", "RUNNING")),
    "a second end": ("each run ends once", _append_end),
    "a missing event": ("histories are legal and gapless", lambda w: w.events.pop(3)),
    "an illegal move": ("histories are legal and gapless", lambda w: setattr(w.events[4], "target", "RUNNING")),
    "an epoch that jumps": ("histories are legal and gapless", lambda w: setattr(w.events[5], "epoch", 3)),
    "time that runs back": ("histories are legal and gapless", lambda w: setattr(w.events[4], "at", _at(0))),
    "a state without its event": ("histories are legal and gapless", lambda w: setattr(w.job, "state", "FAILED")),
    "a missing attempt": ("attempts follow one another", lambda w: w.attempts.pop(0)),
    "two attempts at once": ("attempts follow one another", lambda w: setattr(w.attempts[0], "finished_at", _at(5.5))),
    "an attempt without an end": ("attempts follow one another", lambda w: setattr(w.attempts[1], "finished_at", None)),
    "a late line": ("only the current epoch has effects", lambda w: setattr(w.chunks[0], "stored_at", _at(5.2))),
    "a late checkpoint": (
        "only the current epoch has effects", lambda w: setattr(w.artifacts[0], "created_at", _at(4)),
    ),
    "a hole in the log": ("logs have no gaps", lambda w: w.chunks.pop(1)),
    "an output of a lost attempt": (
        "only the successful attempt has an output", lambda w: setattr(w.artifacts[0], "kind", "output"),
    ),
    "a flipped byte": ("every artifact's bytes are what its manifest says", _damage),
    "no replica": (
        "every artifact's bytes are what its manifest says", lambda w: setattr(w.artifacts[1], "store", None),
    ),
    "an accepted job that is gone": (oracle.LOST, lambda w: setattr(w.submission, "job", "j-zzzz")),
    "a job that nobody wanted": (oracle.ONCE, lambda w: setattr(w.job, "labels", {"storm": "other"})),
    "a moment that was shown and is gone": (
        "what was shown has happened", lambda w: w.submission.seen.add((JobState.FAILED, 1)),
    ),
    "a retry that never happened": ("retries happen as answered", _retry_unconfirmed),
    "a cancel that was forgotten": ("cancels happen as answered", _cancel_ignored),
    "a cancel that nobody asked for": ("cancels happen as answered", lambda w: setattr(w.job, "state", "CANCELLED")),
    "a failure with budget left": ("jobs end as their code does", lambda w: w.fail("lease_lost")),
    "a retry that was not given": ("jobs end as their code does", _fail_early),
    "a quarantine without deaths": ("jobs end as their code does", lambda w: w.fail("quarantined")),
    "a line that is missing": ("every line and number is kept", lambda w: w.chunks[2].lines.clear()),
    "a number that is missing": ("every line and number is kept", lambda w: w.metrics.pop()),
    "a checkpoint that was lost": ("checkpoints carry over", _lose_checkpoint),
    "another result": ("checkpoints carry over", _wrong_result),
    "a zombie's line": (oracle.GHOST, lambda w: w.chunks.append(_chunk(2, 4, 5.6, MARK))),
    "a zombie's metric": (
        oracle.GHOST, lambda w: w.metrics.append(SimpleNamespace(epoch=1, name=MARK, step=0, value=1.0)),
    ),
    "a zombie's note": (oracle.GHOST, lambda w: setattr(w.attempts[0], "note", MARK)),
}  # fmt: skip


@pytest.mark.parametrize("what", _BREAKS)
def test_each_rule_condemns(world: World, what: str) -> None:
    rule, break_it = _BREAKS[what]
    break_it(world)
    assert rule in world.broken()


def test_each_rule_has_such_a_case() -> None:
    assert {rule for rule, _ in _BREAKS.values()} == {
        *audit.RULES,
        *oracle.RULES,
        oracle.LOST,
        oracle.ONCE,
        oracle.GHOST,
    }
