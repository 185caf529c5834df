"""Migrations of models: begun, watched, cancelled. Each is a job, and can be looked at as one."""

from __future__ import annotations

from orchestrator.domain.errors import JobFailed
from orchestrator.domain.state import JobState
from orchestrator.domain.transfer import MigrationView
from orchestrator.domain.views import JobAccepted, JobSummary
from orchestrator.sdk import waiting
from orchestrator.sdk.binding import Bound, D, Operation, Streaming
from orchestrator.sdk.steps import Steps, Stream
from orchestrator.sdk.transport import each, get, pages, path, post


class Migration(Bound[D]):
    """A copy that is being made or checked. `view` is as of the last answer; `refresh` asks again."""

    def __init__(self, driver: D, view: MigrationView) -> None:
        super().__init__(driver)
        self.view = view

    @property
    def id(self) -> str:
        """The id of the job that does it."""
        return self.view.id

    @property
    def state(self) -> JobState:
        """Where it was when the API was last asked."""
        return self.view.state

    def __repr__(self) -> str:
        what = self.view.model or self.view.artifact
        return f"<Migration {self.id} {what} to {self.view.destination} {self.state}>"

    @Operation
    def refresh(self) -> Steps[Migration[D]]:
        """Ask the API for the migration as it is now. Returns the handle."""
        yield from self._refreshed()
        return self

    @Operation
    def wait(self, *, progress: bool = False, timeout: str | float | None = None) -> Steps[Migration[D]]:
        """Wait until every byte is verified, and readers see the copy; or, of a check, until it is over.

        `timeout` is in seconds or written as `1h30m`. With `progress`, a bar is drawn on standard error. Ctrl-C stops
        the waiting, never the migration. Raises JobFailed with the reason, JobCancelled, WaitTimeout.
        """
        job = JobAccepted(id=self.id, name=self.view.model or self.view.artifact, state=self.view.state)
        try:
            yield from waiting.until_success(job, lambda _: None, progress=progress, timeout=timeout)
        except JobFailed as failure:  # such a job is not retried: it is asked for again
            failure.hint = f"Its log: `neutrino logs {self.id}`. Nothing of a copy that failed is ever seen."
            raise
        yield from self._refreshed()
        return self

    @Operation
    def cancel(self) -> Steps[JobSummary]:
        """Stop it. Nothing of the copy is ever seen by readers; what was written is deleted. Raises Conflict when it
        has ended."""
        return (yield from post(path("jobs", self.id, "cancel"), JobSummary))

    def _refreshed(self) -> Steps[None]:
        self.view = yield from get(path("migrations", self.id), MigrationView)


class Migrations(Bound[D]):
    """The migrations of this workspace."""

    @Streaming
    def list(
        self, *, model: str | None = None, running: bool = False, limit: int | None = None
    ) -> Stream[Migration[D]]:
        """Migrations of models and checkpoints, newest first: those of one model, by its name; or only those under
        way."""
        found = pages("/v1/migrations", MigrationView, limit=limit, model=model, running=running or None)
        yield from each(found, lambda view: Migration(self.driver, view))

    @Operation
    def get(self, migration_id: str) -> Steps[Migration[D]]:
        """The migration, or check, with this id. Raises NotFound."""
        return Migration(self.driver, (yield from get(path("migrations", migration_id), MigrationView)))
