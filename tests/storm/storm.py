"""A storm from its first job to the oracle's verdict."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import psycopg

from orchestrator.embedded import keeper
from orchestrator.embedded import stack as embedded
from orchestrator.embedded.services import API, Service
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from tests.storm import audit, oracle, processes, workload
from tests.storm.audit import Snapshot, Violation
from tests.storm.clients import Submission, User
from tests.storm.plan import Kind, plan
from tests.storm.saboteur import Saboteur
from tests.storm.zombie import Zombie

LEASE_SECONDS = 3.0
_ENVIRONMENT = {
    "NEUTRINO_LEASE_SECONDS": str(LEASE_SECONDS),
    "NEUTRINO_GRACE_SECONDS": "0.5",
    "NEUTRINO_DRAIN_SECONDS": "2",
}
_USERS = 6
_MOST_UNFINISHED = 400
_SETTLE_SECONDS = 240.0
_SETTLE_UNFENCED_SECONDS = 20.0  # without the fence, a job may wait for ever for what was taken from it
_UNFINISHED = "SELECT count(*) AS n FROM jobs WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
_NEVER_SAID = ("Traceback (most recent call last)", "deadlock detected", "PANIC:")
_ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Outcome:
    """What happened, and what is wrong with it."""

    submissions: list[Submission] = field(default_factory=list)
    found: Snapshot = field(default_factory=Snapshot)
    answers: Counter[str] = field(default_factory=Counter)
    done: Counter[Kind] = field(default_factory=Counter)
    missed: Counter[Kind] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)


def run(seed: int, seconds: float, folder: Path, *, fenced: bool = True) -> Outcome:
    """Start a stack in `folder`, storm for so many seconds, let it settle, judge it, and stop everything."""
    outcome = Outcome()
    with _settings(fenced=fenced), Stack(folder, workers=3, schedulers=2, slots=4) as stack:
        users, zombie = _storm(stack, seed, seconds, outcome)
        settled = _settle(stack, _SETTLE_SECONDS if fenced else _SETTLE_UNFENCED_SECONDS)
        zombie.rise_again()
        outcome.found = audit.read(stack.database_url)
        outcome.violations += audit.audit(outcome.found) if settled or not fenced else _unsettled(outcome.found)
    outcome.submissions = [one for user in users for one in user.submissions]
    outcome.violations += oracle.judge(outcome.submissions, outcome.found)
    outcome.violations += oracle.ghosts(outcome.found)
    outcome.violations += [Violation(oracle.GHOST, "zombie", heeded) for heeded in zombie.heeded]
    outcome.violations += [Violation("answers are foreseen", "user", said) for user in users for said in user.surprises]
    outcome.violations += _slips(folder / "logs")
    outcome.violations += [Violation("down leaves nothing", "process", who) for who in processes.left_behind(folder)]
    for user in users:
        outcome.answers += user.answers
    outcome.said = zombie.said
    return outcome


@contextmanager
def _settings(*, fenced: bool) -> Iterator[None]:
    path = {"PYTHONPATH": str(_ROOT)}  # for the module in which the fence is off
    service = API if fenced else Service("tests.storm.unfenced", API.needs, API.grace_s)
    with (
        mock.patch.dict("os.environ", _ENVIRONMENT | ({} if fenced else path)),
        # A service that keeps dying is started ever later, which is right, but would calm the storm down.
        mock.patch.object(keeper, "_LONGEST_DELAY_S", 0.5),
        mock.patch.object(embedded, "API", service),
    ):
        yield


def _storm(stack: Stack, seed: int, seconds: float, outcome: Outcome) -> tuple[list[User], Zombie]:
    stop, busy = threading.Event(), threading.Event()
    with Client(stack.url, stack.admin_token) as client:
        files = client.files.upload({"workload.py": Path(workload.__file__)})
        users = [User(f"user-{number}", client, files, seed, stack.admin_token) for number in range(_USERS)]
        zombie = Zombie(stack.url, _worker_token(stack), stack.database_url, (stack.data_dir / "store").as_uri(), seed)
        saboteur = Saboteur(stack, LEASE_SECONDS)
        lives: list[Callable[[], None]] = [
            *(lambda user=user: user.run(stop, busy) for user in users),
            lambda: zombie.run(stop),
            lambda: _watch(stack, stop, busy),
        ]
        threads = [threading.Thread(target=life, daemon=True) for life in lives]
        for thread in threads:
            thread.start()
        try:
            saboteur.carry_out(plan(seed, seconds), seconds)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    outcome.done, outcome.missed = saboteur.done, saboteur.missed
    return users, zombie


def _slips(logs: Path) -> Iterator[Violation]:
    """What no service may say, however it is treated."""
    for log in sorted(logs.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if any(mark in line for mark in _NEVER_SAID):
                said = " | ".join(lines[max(0, number - 1) : number + 30])
                yield Violation("services foresee what happens", log.name, said[:3000])


def _worker_token(stack: Stack) -> str:
    token: str = json.loads((stack.data_dir / "credentials.json").read_text())["worker_token"]
    return token


def _unfinished(stack: Stack) -> int | None:
    try:
        with audit.connect(stack.database_url) as connection:
            return int(connection.execute(_UNFINISHED).fetchall()[0].n)
    except psycopg.OperationalError:
        return None


def _watch(stack: Stack, stop: threading.Event, busy: threading.Event) -> None:
    """Keep the backlog at a size that can be worked off."""
    while not stop.wait(0.2):
        count = _unfinished(stack)
        if count is not None:
            (busy.set if count > _MOST_UNFINISHED else busy.clear)()


def _settle(stack: Stack, seconds: float) -> bool:
    """Wait until every job has ended; False when that does not happen in time."""
    deadline = time.monotonic() + seconds
    while _unfinished(stack) != 0:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _unsettled(found: Snapshot) -> list[Violation]:
    """What the audit says when jobs are still moving: only that they are."""
    return [one for one in audit.audit(found) if one.rule == next(iter(audit.RULES))]
