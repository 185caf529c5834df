"""Keeps one child process running: starts it, waits for its end, and starts it again."""

from __future__ import annotations

import json
import logging
import random
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from orchestrator.domain.errors import NeutrinoError
from orchestrator.embedded import folder, log_file
from orchestrator.embedded.errors import ServiceFailed
from orchestrator.embedded.process import Child, Identity, Running, end_group, started

STABLE_S = 60.0
"""A child that lived this long was well: its next death is its first."""

RAPID_DEATHS = 5
"""So many deaths in a row, each before a stable minute, are reported as a failure."""

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
_READY_POLL_S = 0.05

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """What is known about a child. `problem` says why it is not running, or why it was last started again."""

    name: str
    tier: int
    restarts: int
    problem: str | None
    running: Running | None

    @property
    def alive(self) -> bool:
        """Whether the process is there now."""
        return self.running is not None and self.running.identity.find() is not None


def backoff(deaths: int, spread: float) -> float:
    """Seconds to wait after so many deaths in a row: doubling, bounded, and up to half less by `spread` (0 to 1)."""
    longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** (deaths - 1))
    return float(longest * (1 - spread / 2))


class Keeper:
    """One child and the thread that keeps it running. Its status is a file that other processes can read."""

    def __init__(self, child: Child, tier: int, *, run: Path, logs: Path) -> None:
        self.child = child
        self.log = logs / f"{child.name}.log"
        self._record = run / f"{child.name}.json"
        self._log_start = log_file.size(self.log)
        self._status = ChildStatus(child.name, tier, 0, None, None)
        self._deaths = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"keep-{child.name}", daemon=True)

    @property
    def status(self) -> ChildStatus:
        """The present status."""
        return self._status

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def wait_ready(self) -> None:
        """Block until the child serves.

        Raises:
            ServiceFailed: it keeps dying, or was not ready in its time.
        """
        deadline = time.monotonic() + self.child.ready_within_s
        while not (self._status.alive and self.child.ready()):
            if self._deaths >= RAPID_DEATHS or not self._thread.is_alive():
                raise self._failure(f"it {self._status.problem}, {self._deaths} times in a row.")
            if time.monotonic() > deadline:
                raise self._failure(f"it was not ready within {self.child.ready_within_s:g} s.")
            self._stopping.wait(_READY_POLL_S)

    def request_stop(self) -> Running | None:
        """Start the child no more. Returns what runs now and has to be stopped."""
        with self._lock:
            self._stopping.set()
            return self._status.running

    def join(self) -> None:
        """Wait for the end of the thread, which comes with the end of the child."""
        if self._thread.ident is not None:
            self._thread.join()
        self._record.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            problem = self._live()
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - began >= STABLE_S else self._deaths + 1
            self._ended(problem)
            self._report(problem, deaths)
            self._deaths = deaths  # last: whoever waits for it finds the rest done
            self._stopping.wait(backoff(self._deaths, random.random()))  # noqa: S311

    def _ended(self, problem: str) -> None:
        try:
            self._note(restarts=self._status.restarts + 1, problem=problem, running=None)
        except OSError as error:  # a full disk must not end the keeping: the next start tries to write again
            _log.warning("The status of %s cannot be written: %s", self.child.name, error)

    def _report(self, problem: str, deaths: int) -> None:
        if deaths == RAPID_DEATHS:
            _log.error("%s keeps dying: it %s, %d times in a row. %s", self.child.name, problem, deaths, self._end())
        else:
            _log.warning("%s %s. It is started again.", self.child.name, problem)

    def _live(self) -> str:
        """One life of the child; returns what ended it."""
        try:
            with self._lock:
                if self._stopping.is_set():
                    return "was stopped"
                self.child.before()
                with log_file.open_for(self.log) as log, started(self.child, log) as (popen, running):
                    self._note(restarts=self._status.restarts, problem=self._status.problem, running=running)
        except (OSError, NeutrinoError, psutil.Error) as error:
            return f"could not be started: {error}"
        code = popen.wait()
        end_group(popen.pid)
        return _describe(code)

    def _note(self, *, restarts: int, problem: str | None, running: Running | None) -> None:
        self._status = ChildStatus(self.child.name, self._status.tier, restarts, problem, running)
        folder.write(self._record, json.dumps(asdict(self._status)))

    def _tail(self) -> list[str]:
        return log_file.tail(self.log, since=self._log_start)

    def _end(self) -> str:
        """The last lines that the child wrote, with a word of introduction."""
        tail = self._tail()
        return "\n  ".join([f"The end of {self.log}:", *tail]) if tail else f"It wrote nothing to {self.log}."

    def _failure(self, problem: str) -> ServiceFailed:
        return ServiceFailed(
            f"{self.child.name} did not start: {problem}",
            hint=self._end(),
            log_tail=self._tail(),
        )


def read_status(record: Path) -> ChildStatus | None:
    """The status that a keeper, perhaps of another process, wrote; None when it is gone."""
    text = folder.read(record)
    if text is None:
        return None
    fields = json.loads(text)
    running = fields.pop("running")
    if running is not None:
        identity = Identity(**running.pop("identity"))
        return ChildStatus(**fields, running=Running(identity, **running))
    return ChildStatus(**fields, running=None)


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by signal {-code} ({signal.strsignal(-code)})"
