"""The control plane's store with a workspace, a pool and a worker in it, and short words for what tests do to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from orchestrator.domain.ids import AttemptId, decode_attempt
from orchestrator.domain.protocol import (
    Append,
    ArtifactUpload,
    Heartbeat,
    HeartbeatReply,
    Lease,
    LogLine,
    MetricPoint,
    RegisterWorker,
    Report,
    Reported,
)
from orchestrator.domain.spec import Command, JobSpec
from orchestrator.domain.state import JobState, Reason
from orchestrator.domain.views import CreatePool
from orchestrator.scheduler.dispatcher import Ring, dispatch
from orchestrator.store import attempts, jobs, pools, streams, tokens
from orchestrator.store.fence import Holder
from orchestrator.store.session import Database

LEASE = 30.0
STORE = "file:///srv/neutrino"

_names = itertools.count(1)


def command(name: str = "hello", **fields: Any) -> Command:
    """A job that does nothing."""
    return Command(name=name, command=("true",), **fields)


class Plane:
    """A database with the workspace `vision`, and, once `pool()` and `worker()` made them, places to run."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.transaction() as connection:
            self.workspace = tokens.ensure_workspace(connection, "vision")

    def pool(self, name: str = "local", **fields: Any) -> str:
        """A new pool."""
        with self.database.transaction() as connection:
            pools.create(connection, CreatePool(name=name, **({"store": STORE} | fields)))
        return name

    def worker(self, pool: str = "local", *, slots: int = 4, name: str | None = None, **fields: Any) -> int:
        """A worker that has just registered: its row id."""
        wanted = RegisterWorker(
            name=name or f"worker-{next(_names)}", pool=pool, slots=slots, host="here", pid=1, version="0", **fields
        )
        with self.database.transaction() as connection:
            return pools.register(connection, wanted).worker_id

    def submit(self, *specs: JobSpec) -> list[int]:
        """Store jobs; without specs, one that does nothing."""
        with self.database.transaction() as connection:
            return jobs.submit(connection, self.workspace, "ada", specs or [command()])

    def dispatch(self) -> list[Ring]:
        """Let the dispatcher fill the windows once."""
        return dispatch(self.database)

    def claim(self, worker: int, slots: int = 1) -> tuple[Lease, ...]:
        """Let a worker claim."""
        with self.database.transaction() as connection:
            return attempts.claim(connection, worker, pools.pool_of(connection, worker), slots, LEASE)

    def running(self, worker: int, spec: JobSpec | None = None) -> AttemptId:
        """An attempt that the worker has just claimed."""
        self.submit(spec or command())
        self.dispatch()
        (lease,) = self.claim(worker)
        return decode_attempt(lease.attempt)

    def heartbeat(self, worker: int, *named: AttemptId) -> HeartbeatReply:
        """A heartbeat for these attempts."""
        beat = Heartbeat(worker="w-1", attempts=tuple(map(str, named)))
        with self.database.transaction() as connection:
            return attempts.heartbeat(connection, worker, beat, named, LEASE)

    def append(
        self,
        attempt: AttemptId,
        *texts: str,
        seq: int = 1,
        first_line: int = 1,
        at: float = 1.0,
        points: Sequence[tuple[str, int, float | None]] = (),
        holder: Holder | None = None,
        **fields: Any,
    ) -> list[AttemptId]:
        """Append lines and metrics; returns the attempts from which nothing is taken any more."""
        batch = Append(
            attempt=str(attempt),
            seq=seq,
            first_line=first_line,
            lines=tuple(LogLine(at=at, stream="stdout", text=text) for text in texts),
            metrics=tuple(MetricPoint(name=name, step=step, value=value, at=at) for name, step, value in points),
            **fields,
        )
        with self.database.transaction() as connection:
            return streams.append(connection, holder or Holder(), [(attempt, batch)])

    def report(
        self,
        worker: int,
        attempt: AttemptId,
        reason: Reason = Reason.SUCCEEDED,
        output: ArtifactUpload | None = None,
        damaged: tuple[str, ...] = (),
    ) -> Reported:
        """Report how an attempt ended."""
        ended = Report(attempt=str(attempt), reason=reason, message="It ended.", output=output, damaged=damaged)
        with self.database.transaction() as connection:
            return attempts.report(connection, Holder(worker), [(attempt, ended)])

    def expire(self, *named: AttemptId) -> None:
        """Let the leases of these attempts have run out a second ago."""
        for attempt in named:
            self.sql(
                "UPDATE attempts SET lease_expires_at = clock_timestamp() - interval '1 second' "
                "WHERE job_id = :job_id AND epoch = :epoch",
                **attempt._asdict(),
            )

    def job(self, job_id: int) -> Any:
        """A job's row."""
        (row,) = self.sql("SELECT * FROM jobs WHERE id = :id", id=job_id)
        return row

    def state(self, job_id: int) -> JobState:
        """A job's state."""
        return JobState(self.job(job_id).state)

    def attempt(self, attempt: AttemptId) -> Any:
        """An attempt's row."""
        (row,) = self.sql("SELECT * FROM attempts WHERE job_id = :job_id AND epoch = :epoch", **attempt._asdict())
        return row

    def sql(self, statement: str, **values: Any) -> list[Any]:
        """Rows of any statement, committed."""
        with self.database.transaction() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    def everything(self) -> str:
        """All that attempts can have an effect on, as text, to compare before and after."""
        tables = ("jobs", "attempts", "events", "log_chunks", "metrics", "artifacts", "replicas", "model_versions")
        return json.dumps(
            {table: [str(row) for row in self.sql(f"SELECT * FROM {table} ORDER BY 1, 2")] for table in tables}
        )


def upload(attempt: AttemptId, workspace: int, name: str = "output", digest: str = "0" * 64) -> ArtifactUpload:
    """An artifact that a worker has written below its attempt's prefix."""
    return ArtifactUpload(store=STORE, prefix=f"artifacts/{workspace}/{attempt}/{name}", digest=digest, size=3, files=1)
