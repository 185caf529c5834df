"""One job: why it is where it is, what became of it, what it was asked to do, and what can be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from cloud_adapters.egress import usd_per_gib
from cloud_adapters.transfer.estimate import ASSUMED_RATE
from orchestrator.dashboard import recipes
from orchestrator.dashboard.access import ActingSubmitter, Db, Submitter, Viewer
from orchestrator.dashboard.drawing import bands
from orchestrator.dashboard.parts import shared
from orchestrator.dashboard.render import render
from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.state import JobState
from orchestrator.domain.transfer import OWN_KINDS
from orchestrator.domain.views import JobView
from orchestrator.store import explain, history, jobs, log_pages, moves, places, plots
from orchestrator.store.session import Connection

router = APIRouter(prefix="/jobs/{job_id}")

_EVENTS = 200
_TAIL = 200
RESOURCES = "sys/"
"""Metrics with such names are what the worker has measured, not the job."""
Text = Annotated[str, Query(max_length=200)]

_ACTIONS = {"cancel": jobs.cancel, "retry": jobs.retry, "checkpoint": moves.ask_for_checkpoint}


class Heading(NamedTuple):
    """What every page of a job begins with; `clouds` are those to which it could move. `ours`: nobody has submitted it,
    and nobody can run it again or elsewhere; it copies or checks an artifact."""

    job: JobView
    clouds: list[str]
    ours: bool

    @property
    def row_id(self) -> int:
        """The job's row id."""
        return decode("j", self.job.id)


def heading(connection: Connection, viewer: Viewer, job_id: str) -> Heading:
    """The heading of a job's pages. Raises NotFound."""
    clouds = sorted({store.cloud for store in places.stores(connection)})
    found = jobs.get(connection, viewer.workspace_id, job_id)
    return Heading(found, clouds, found.kind in OWN_KINDS)


@router.get("")
@shared
def job(request: Request, db: Db, viewer: Viewer, job_id: str) -> Response:
    """The job's page."""
    with db.transaction() as connection:
        head = heading(connection, viewer, job_id)
        view, row_id = head.job, head.row_id
        spans = history.spans(connection, row_id)
        names = plots.names(connection, row_id)
        log = log_pages.page(connection, row_id, log_pages.LogFilter(), limit=_TAIL)
        context: dict[str, Any] = {
            "why": explain.why(connection, row_id),
            "spans": spans,
            "bands": bands(spans),
            "totals": _totals(spans),
            "spending": history.spending(connection, row_id),
            "events": history.events(connection, row_id, _EVENTS),
            "lineage": history.lineage(connection, viewer.workspace_id, row_id, view.document),
            "metrics": [name for name in names if not name.startswith(RESOURCES)],
            "resources": [name for name in names if name.startswith(RESOURCES)],
            "before": history.run_before(connection, viewer.workspace_id, view.name, row_id),
            "log": log,
            "job_id": view.id,
        }
    return render(request, "job.html", tab="job", ended=view.state.terminal, **head._asdict(), **context)


def _totals(spans: list[history.Span]) -> Mapping[JobState, float]:
    """Seconds in each state that lasts."""
    found: dict[JobState, float] = {}
    for span in spans:
        if not span.state.terminal:
            found[span.state] = found.get(span.state, 0.0) + span.seconds
    return found


@router.get("/spec")
def spec(
    request: Request,
    db: Db,
    viewer: Viewer,
    job_id: str,
    other: Annotated[str, Query(alias="with", max_length=40)] = "",
) -> Response:
    """What the job was asked to do, how to ask for it again, and how it differs from another one."""
    with db.transaction() as connection:
        head = heading(connection, viewer, job_id)
        view = head.job
        before = history.run_before(connection, viewer.workspace_id, view.name, head.row_id)
        other = other.strip().lower() or before or ""
        than = jobs.get(connection, viewer.workspace_id, other) if other else None
    changes = recipes.changes(than.document, view.document) if than else ()
    return render(
        request,
        "job_spec.html",
        tab="spec",
        recipes=() if head.ours else recipes.of(view.document),
        than=than,
        changes=changes,
        before=before,
        **head._asdict(),
    )


@router.get("/migrate")
def migration(request: Request, db: Db, viewer: Submitter, job_id: str, to: Text) -> Response:
    """What it would take to move the job, before it is done."""
    with db.transaction() as connection:
        head = heading(connection, viewer, job_id)
        plan, _ = moves.plan(connection, head.row_id, to, usd_per_gib, ASSUMED_RATE)
    return render(request, "job_migrate.html", tab="", plan=plan, **head._asdict())


@router.post("/{action}")
def act(
    db: Db, viewer: ActingSubmitter, job_id: str, action: str, to: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Cancel, retry, checkpoint or migrate the job."""
    if action not in {*_ACTIONS, "migrate"}:
        raise NotFound(f"There is no action {action[:80]!r}.", hint=f"There are migrate, {', '.join(_ACTIONS)}.")
    with db.transaction() as connection:
        row_id = jobs.find(connection, viewer.workspace_id, job_id)
        if action == "migrate":
            moves.begin(connection, row_id, to, usd_per_gib, ASSUMED_RATE, viewer.user)
        else:
            _ACTIONS[action](connection, row_id, viewer.user)
    return RedirectResponse(f"/jobs/{quote(encode('j', row_id))}", status_code=303)
