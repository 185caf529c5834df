"""Starts child processes, keeps them running, and ends them all, whatever happens to itself.

Children are started in tiers: what one tier needs, an earlier one gives. They are stopped in the opposite order.

Three things see to it that no child outlives its supervisor. `close` stops them. A guard process does the same when the
supervisor dies without a word (see `guard`). And should the guard die as well, the next supervisor of the same folder
finds the records of the children and stops them first.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.embedded import folder, log_file, process
from orchestrator.embedded.keeper import ChildStatus, Keeper, read_status
from orchestrator.embedded.process import Running

_HOUSEKEEPING_S = 5.0


class Supervisor:
    """Children of this process, with their logs in `<home>/logs` and their records in `<home>/run`.

    The caller holds the folder's lock: two supervisors on one home would stop each other's children.
    """

    def __init__(self, home: Path) -> None:
        self._logs = folder.make(home / "logs")
        stop_leftovers(home)
        self._run = folder.make(home / "run" / f"{os.getpid()}-{time.time_ns()}")
        self._tiers: list[list[Keeper]] = []
        self._closing = threading.Event()
        self._guard = _Guard(self._run, self._logs / "guard.log")
        self._housekeeper = threading.Thread(target=self._keep_house, name="supervisor", daemon=True)
        self._housekeeper.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self, *children: process.Child) -> None:
        """Start the next tier, all at once, and block until each of them is ready.

        Raises:
            ServiceFailed: one did not start; its last log lines are in the hint. The others go on until `close`.
        """
        number = len(self._tiers)
        tier = [Keeper(child, number, run=self._run, logs=self._logs) for child in children]
        self._tiers.append(tier)
        for keeper in tier:
            keeper.start()
        for keeper in tier:
            keeper.wait_ready()

    def status(self) -> list[ChildStatus]:
        """All children in the order in which they were started."""
        return [keeper.status for keeper in itertools.chain.from_iterable(self._tiers)]

    def close(self) -> None:
        """Stop everything, the last tier first. Safe to call twice."""
        self._closing.set()
        self._housekeeper.join()
        while self._tiers:
            tier = self._tiers[-1]
            process.stop([running for keeper in tier if (running := keeper.request_stop())])
            for keeper in tier:
                keeper.join()
            self._tiers.pop()
        self._guard.close()
        shutil.rmtree(self._run, ignore_errors=True)

    def _keep_house(self) -> None:
        while not self._closing.wait(_HOUSEKEEPING_S):
            self._guard.ensure()
            for keeper in itertools.chain.from_iterable(list(self._tiers)):
                log_file.rotate(keeper.log)


class _Guard:
    """A process that notices our death by the end of the pipe that only we hold open."""

    def __init__(self, run: Path, log: Path) -> None:
        self._argv = [sys.executable, "-P", "-m", "orchestrator.embedded.guard", str(run)]
        self._log = log
        self._popen = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with log_file.open_for(self._log) as log:
            return subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)

    def ensure(self) -> None:
        """Start the guard again if somebody has ended it."""
        if self._popen.poll() is not None:
            self.close()
            self._popen = self._start()

    def close(self) -> None:
        """End the guard. Call it when the children are gone: it stops those whose records it finds."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()


def stop_leftovers(home: Path) -> None:
    """Stop the children of supervisors that died without doing so. The caller holds the folder's lock."""
    for run in sorted((home / "run").glob("*")):
        stop_recorded(run)


def stop_recorded(run: Path) -> None:
    """Stop every child that is recorded in one supervisor's folder, the last tier first, and remove the records."""
    tiers: defaultdict[int, list[Running]] = defaultdict(list)
    for status in statuses(run):
        if status.running is not None:
            tiers[status.tier].append(status.running)
    for number in sorted(tiers, reverse=True):
        process.stop(tiers[number])
    shutil.rmtree(run, ignore_errors=True)


def children_of(home: Path, supervisor: int) -> list[ChildStatus]:
    """The children of a living supervisor, which has removed what others left, by its pid."""
    return [status for run in (home / "run").glob(f"{supervisor}-*") for status in statuses(run)]


def statuses(run: Path) -> list[ChildStatus]:
    """The children that are recorded in one supervisor's folder, in the order in which they were started."""
    found = [status for record in run.glob("*.json") if (status := read_status(record))]
    return sorted(found, key=lambda status: (status.tier, status.name))
