"""What Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter, Response

from orchestrator import metrics
from orchestrator.api.auth import Scraper
from orchestrator.api.dependencies import Db
from orchestrator.store import gauges

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def scrape(db: Db, caller: Scraper) -> Response:  # noqa: ARG001 - asking for the caller is the check
    """The metrics of this process and of the installation, in Prometheus' text format, without names of jobs, people or
    workspaces. Any token will do but that of an attempt; a worker's is the one that can do least."""
    with db.transaction() as connection:
        figures = gauges.read(connection)
    return Response(metrics.exposition(figures), media_type=metrics.CONTENT_TYPE)
