"""The list of jobs: search, facets, order, pages, saved views, and what is done to many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.dashboard import query as queries
from orchestrator.dashboard.access import ActingSubmitter, ActingViewer, Db, Submitter, Viewer
from orchestrator.dashboard.parts import shared
from orchestrator.dashboard.render import render
from orchestrator.domain import roles
from orchestrator.domain.errors import NotFound
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.views import JobSummary
from orchestrator.store import audit, browse, bulk, facets, filters, jobs, saved_views
from orchestrator.store.session import Connection

router = APIRouter()

PAGE = 50
_NEW = 100
COLUMNS = {
    "labels": "Labels",
    "kind": "Kind",
    "user": "User",
    "pool": "Pool",
    "reason": "Reason",
    "attempts": "Attempts",
    "took": "Took",
    "created": "Created",
    "finished": "Finished",
}
USUAL = ("labels", "user", "pool", "took", "created")
_FACETS = ("state", "reason", "kind", "user", "pool", "name")
_PAST = {"cancel": "cancelled", "retry": "queued again"}

Words = Annotated[str, Query(max_length=2000)]


def _asked(request: Request, q: str) -> queries.Query:
    """The search; the choices that other pages link to (`?state=FAILED`) become part of it."""
    params = request.query_params
    given = [(name, value) for name in _FACETS for value in params.getlist(name)]
    labels = [pair.partition("=") for pair in params.getlist("label")]
    return queries.parse(q, [*given, *((f"label:{key}", value) for key, _, value in labels)])


def _address(request: Request, **changes: Any) -> str:
    """This list with other parameters; changing what is listed begins at the first page."""
    kept = {name: request.query_params.getlist(name) for name in ("q", "sort", "col")}
    wanted = {name: value for name, value in (kept | changes).items() if value not in (None, "", [])}
    return f"/jobs?{urlencode(wanted, doseq=True)}" if wanted else "/jobs"


@router.get("/jobs")
@shared
def listing(
    request: Request,
    db: Db,
    viewer: Viewer,
    q: Words = "",
    sort: Annotated[str, Query(max_length=20)] = "newest",
    after: Annotated[str | None, Query(max_length=500)] = None,
    before: Annotated[str | None, Query(max_length=500)] = None,
    col: Annotated[Sequence[str], Query(max_length=20)] = (),
    shown: Annotated[str, Query(max_length=2000)] = "",
    newest: Annotated[int, Query(ge=0)] = 0,
    did: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """A page of the list. A page that is open already asks with the ids that it has `shown`: those rows are drawn anew
    where they are, and jobs submitted since `newest` are only counted."""
    asked = _asked(request, q)
    sort = sort if sort in browse.SORTINGS else "newest"
    columns = tuple(name for name in COLUMNS if name in col) or USUAL
    context: dict[str, Any] = {"asked": asked, "sort": sort, "columns": columns, "all_columns": COLUMNS}
    context |= {
        "orders": browse.SORTINGS,
        "done": _done(did),
        "address": lambda **changes: _address(request, **changes),
    }
    context["effort"] = browse.EFFORT
    context["listed_here"] = _address(request, q=asked.text)
    with db.transaction() as connection:
        if request.headers.get("HX-Target") and shown:
            return render(request, "jobs.html", **context, **_again(connection, viewer, asked, shown, newest))
        if asked.job and (found := _found(connection, viewer.workspace_id, asked.job)):
            return RedirectResponse(f"/jobs/{found}", status_code=303)
        plan = filters.plan(connection, viewer.workspace_id, asked.filter)
        page = browse.page(connection, plan, sort=sort, after=after, before=before, limit=PAGE)
        newest = browse.newest(connection, viewer.workspace_id)
        context |= {
            "facets": facets.facets(connection, plan),
            "views": saved_views.views(connection, viewer.workspace_id, viewer.user),
        }
    ids = ",".join(job.id for job in page.items)
    live = _address(request, q=asked.text, shown=ids, newest=newest)
    return render(request, "jobs.html", page=page, items=page.items, new=None, live=live, **context)


def _again(connection: Connection, viewer: Viewer, asked: queries.Query, shown: str, newest: int) -> dict[str, Any]:
    wanted = [decode("j", each) for each in shown.split(",")[:PAGE]]
    items = browse.again(connection, viewer.workspace_id, wanted)
    plan = filters.plan(connection, viewer.workspace_id, asked.filter)
    ids, more = browse.ids(connection, plan, limit=_NEW, newer=newest)
    new = f"{len(ids)}+" if more else str(len(ids)) if ids else None
    return {"items": items, "new": new, "page": None, "live": "", "facets": {}, "views": []}


def _found(connection: Connection, workspace_id: int, job_id: str) -> str | None:
    try:
        return encode("j", jobs.find(connection, workspace_id, job_id))
    except NotFound:
        return None


def _done(did: str) -> str | None:
    """What the address says was done just now, in words."""
    action, _, count = did.partition(":")
    if action not in _PAST or not (count.isascii() and count.isdigit() and len(count) < 7):
        return None
    return f"{count} {'job' if count == '1' else 'jobs'} {_PAST[action]}."


def _chosen(
    connection: Connection, workspace_id: int, request: Request, q: str, ids: Sequence[str], *, every: bool
) -> tuple[list[int], bool]:
    """The jobs that were ticked, or all that the search finds (up to bulk.MOST), and whether there are more."""
    if every:
        plan = filters.plan(connection, workspace_id, _asked(request, q).filter)
        return browse.ids(connection, plan, limit=bulk.MOST)
    return [decode("j", each) for each in ids[: bulk.MOST]], len(ids) > bulk.MOST


@router.get("/jobs/confirm")
def confirm(
    request: Request,
    db: Db,
    viewer: Submitter,
    action: Annotated[str, Query(max_length=10)],
    q: Words = "",
    job: Annotated[Sequence[str], Query(max_length=40)] = (),
    every: Annotated[bool, Query(alias="all")] = False,
) -> Response:
    """What an action on many jobs would do, before it is done."""
    if action not in bulk.ACTIONS:
        raise NotFound(f"There is no action {action!r}.", hint="Jobs can be cancelled or retried.")
    with db.transaction() as connection:
        ids, more = _chosen(connection, viewer.workspace_id, request, q, job, every=every)
        able = bulk.concerned(connection, viewer.workspace_id, action, ids)
        first: list[JobSummary] = sorted(jobs.summaries(connection, able[:10]), key=lambda one: one.id)
    return render(
        request,
        "jobs_confirm.html",
        action=action,
        q=q,
        ids=[encode("j", one) for one in able],
        first=first,
        left_out=len(ids) - len(able),
        more=more,
        most=bulk.MOST,
    )


@router.post("/jobs/bulk")
def many(
    db: Db,
    viewer: ActingSubmitter,
    action: Annotated[str, Form(max_length=10)],
    job: Annotated[str, Form(max_length=20_000)] = "",
    q: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Cancel or retry the jobs that were shown for confirmation, and no others."""
    if action not in bulk.ACTIONS:
        raise NotFound(f"There is no action {action!r}.", hint="Jobs can be cancelled or retried.")
    ids = [decode("j", each) for each in job.split()[: bulk.MOST]]
    with db.transaction() as connection:
        done = [encode("j", one) for one in bulk.act(connection, viewer.workspace_id, viewer.user, action, ids)]
        audit.about(f"{action} {len(done)}: {' '.join(done)}", jobs=done)
    return RedirectResponse(f"/jobs?{urlencode({'q': q, 'did': f'{action}:{len(done)}'})}", status_code=303)


@router.post("/jobs/views")
def save_view(
    db: Db,
    viewer: ActingViewer,
    name: Annotated[str, Form(min_length=1, max_length=60)],
    query: Annotated[str, Form(max_length=3000)] = "",
    shared: Annotated[bool, Form()] = False,
    delete: Annotated[bool, Form()] = False,
) -> Response:
    """Save the present list under a name, or forget a saved one. Sharing is for those who may submit."""
    if shared:
        roles.require(viewer.role, "submitter")
    owner = saved_views.SHARED if shared else viewer.user
    name = " ".join(name.replace("\x00", "").split())
    with db.transaction() as connection:
        if delete:
            saved_views.delete(connection, viewer.workspace_id, owner, name)
        else:
            saved_views.save(connection, viewer.workspace_id, owner, name, query)
    return RedirectResponse("/jobs" if delete or not query else f"/jobs?{query}", status_code=303)
