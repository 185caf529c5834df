"""A whole Neutrino on this machine as real processes, and short words for what tests do to it."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from orchestrator import Command
from orchestrator.domain.ids import decode
from orchestrator.domain.spec import SourceFile
from orchestrator.domain.views import JobView
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle
from tests.storm import audit, processes, workload

Found = TypeVar("Found")
Job = JobHandle[Sync]

PATIENCE = 120.0


def until(look: Callable[[], Found], seconds: float = PATIENCE) -> Found:
    """What `look` finds, as soon as that is something; who looks all the time holds up what is to happen."""
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        assert waited < seconds, "it did not happen in time"
        time.sleep(min(0.02 + waited / 20, 0.1))
    return found


class Site:
    """A running stack with a client of its own."""

    def __init__(self, stack: Stack, client: Client) -> None:
        self.stack = stack
        self.client = client

    @cached_property
    def _workload(self) -> tuple[SourceFile, ...]:
        return self.client.files.upload({"workload.py": Path(workload.__file__)})

    def submit(self, function: str, **params: Any) -> Job:
        """A job that runs a function of `tests/storm/workload.py`."""
        return self.client.jobs.submit(
            Command(
                name=function.replace("_", "-"), entrypoint=f"workload:{function}", files=self._workload, params=params
            )
        )

    def run(self, *command: str, **fields: Any) -> Job:
        """A job that runs a program."""
        return self.client.jobs.submit(Command(name="program", command=command, **fields))

    def service(self, name: str) -> int:
        """The process id of a service, as soon as it runs."""
        return until(lambda: processes.service(self.stack, name) or 0)

    def kill(self, *names: str) -> None:
        """kill -9 of services; their supervisor starts them again."""
        for pid in [self.service(name) for name in names]:
            processes.send(pid, signal.SIGKILL)

    def worker_of(self, job: Job) -> str:
        """The service that runs the job's newest attempt."""
        name = self.view(job).attempts[-1].worker
        assert name is not None
        return name.replace("local", "worker")

    def pid_told_by(self, job: Job) -> int:
        """The process id that the job has written to its log."""
        return until(lambda: next((int(line.text) for line in job.logs() if line.text.isdecimal()), 0))

    def view(self, job: Job) -> JobView:
        """The job with its attempts, as it is now."""
        view = job.refresh().view
        assert isinstance(view, JobView)
        return view

    def running(self, job: Job, saying: str) -> None:
        """Wait until the job runs and has written a line."""
        until(lambda: any(saying in line.text for line in job.logs()))

    def ended(self, *jobs: Job) -> list[JobView]:
        """The jobs, once all of them have ended, however they did."""
        return [until(lambda job=job: (view := self.view(job)).state.terminal and view) for job in jobs]  # type: ignore[misc]

    def ends(self, *jobs: Job) -> Counter[str]:
        """How many jobs ended in which state, once all of them have; for many."""
        ids = [row_id(job) for job in jobs]
        unfinished = "SELECT FROM jobs WHERE id = ANY(%s) AND finished_at IS NULL"
        until(lambda: not self.sql(unfinished, ids))
        return Counter(row.state for row in self.sql("SELECT state FROM jobs WHERE id = ANY(%s)", ids))

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Rows straight from the database."""
        with audit.connect(self.stack.database_url) as connection:
            cursor = connection.execute(statement, values)
            return list(cursor) if cursor.description is not None else []

    def restarted(self, name: str, before: int) -> None:
        """Wait until a service runs again as another process."""
        until(lambda: processes.service(self.stack, name) not in {None, before})


def row_id(job: Job) -> int:
    """The number of the job's row."""
    return decode("j", job.id)
