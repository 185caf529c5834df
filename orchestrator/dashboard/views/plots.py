"""Metrics: as curves, as a table, and those of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from orchestrator.dashboard import ansi, recipes
from orchestrator.dashboard.access import Db, Viewer
from orchestrator.dashboard.drawing import sparkline
from orchestrator.dashboard.render import render
from orchestrator.dashboard.views.job import RESOURCES, heading
from orchestrator.domain.ids import decode
from orchestrator.domain.views import JobView
from orchestrator.store import browse, filters, jobs, plots
from orchestrator.store.filters import JobFilter

router = APIRouter(prefix="/jobs")

RUNS = 8
"""So many runs can be told apart by their colours."""
_PLOTS = 48
_ROWS = 100
Jobs = Annotated[Sequence[str], Query(max_length=50)]


@router.get("/plots.json")
def data(db: Db, viewer: Viewer, job: Jobs = (), part: Literal["metrics", "resources"] = "metrics") -> JSONResponse:
    """The curves of some runs: for each metric and run its steps and values."""
    found: dict[str, list[dict[str, Any]]] = {}
    with db.transaction() as connection:
        for job_id in dict.fromkeys(job[:RUNS]):
            row_id = jobs.find(connection, viewer.workspace_id, job_id)
            names = [n for n in plots.names(connection, row_id) if n.startswith(RESOURCES) == (part == "resources")]
            for curve in plots.curves(connection, row_id, names[:_PLOTS]):
                run = {"job": job_id, "steps": curve.steps, "values": curve.values}
                found.setdefault(curve.name, []).append(run)
    content = {"plots": [{"name": ansi.shown(name), "runs": runs} for name, runs in found.items()]}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})


@router.get("/{job_id}/metrics")
def table(request: Request, db: Db, viewer: Viewer, job_id: str) -> Response:
    """Every metric of a job in a line of its own."""
    with db.transaction() as connection:
        head = heading(connection, viewer, job_id)
        names = plots.names(connection, head.row_id)
        curves = plots.curves(connection, head.row_id, names[:_ROWS], points=60)
    drawn = [(curve, sparkline(curve)) for curve in curves]
    left_out = max(0, len(names) - _ROWS)
    return render(request, "job_metrics.html", tab="metrics", curves=drawn, left_out=left_out, **head._asdict())


@router.get("/compare")
def compare(request: Request, db: Db, viewer: Viewer, job: Jobs = ()) -> Response:
    """Runs side by side: what they were asked, what came of it, and their curves in one picture."""
    ids = list(dict.fromkeys(each.strip().lower() for each in job if each.strip()))[:RUNS]
    with db.transaction() as connection:
        runs = [jobs.get(connection, viewer.workspace_id, each) for each in ids]
        rows = [decode("j", run.id) for run in runs]
        names = runs[0].name if runs else None
        others = browse.page(connection, filters.plan(connection, viewer.workspace_id, JobFilter(name=names)), limit=20)
        lasts = [_lasts(plots.curves(connection, row, plots.names(connection, row)[:_PLOTS], 2)) for row in rows]
    differing, alike = _settings(runs)
    metrics = {name: [one.get(name) for one in lasts] for name in sorted({name for one in lasts for name in one})}
    without = {each: "/jobs/compare?" + urlencode({"job": [o for o in ids if o != each]}, doseq=True) for each in ids}
    return render(
        request,
        "compare.html",
        runs=runs,
        others=[one for one in others.items if one.id not in ids],
        metrics=metrics,
        differing=differing,
        alike=alike,
        without=without,
    )


def _lasts(curves: Sequence[plots.Curve]) -> dict[str, float | None]:
    return {curve.name: curve.last for curve in curves if not curve.name.startswith(RESOURCES)}


def _settings(runs: Sequence[JobView]) -> tuple[dict[str, list[str | None]], dict[str, str | None]]:
    """What of the runs' specs is different, and what is alike."""
    documents = [recipes.flat(run.document.get("spec", {})) for run in runs]
    names = dict.fromkeys(name for document in documents for name in document)
    rows = {name: [document.get(name) for document in documents] for name in names}
    differing = {name: values for name, values in rows.items() if len(set(values)) > 1}
    return differing, {name: values[0] for name, values in rows.items() if name not in differing}
