"""The first page: what needs attention, how much there is to do, what it costs, and how every part is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.dashboard.access import Db, Viewer
from orchestrator.dashboard.concerns import Concern, Facts, concerns
from orchestrator.dashboard.formats import size
from orchestrator.dashboard.parts import shared
from orchestrator.dashboard.render import render
from orchestrator.domain.pods import ClusterView
from orchestrator.domain.state import JobState
from orchestrator.domain.views import COUNTED, ComponentView, PoolView
from orchestrator.queues import queue_for_pool
from orchestrator.store import clusters, components, cost, overview, pools
from orchestrator.store.cost import Total
from orchestrator.store.session import Database

router = APIRouter()

_KINDS = ("api", "scheduler", "broker", "database", "store", "cluster")


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything on the page, at one moment."""

    depth: dict[JobState, int]
    more_than: int
    spent: Total
    concerns: list[Concern]
    parts: list[ComponentView]
    pools: list[PoolView]
    failed: int


def _look(database: Database, workspace_id: int) -> Picture:
    began = time.perf_counter()
    with database.transaction() as connection:
        depth = overview.depth(connection, workspace_id)
        parts = [part for part in components.views(connection) if part.kind != "cluster"]  # clusters tell below
        facts = Facts(
            components=parts,
            failures=overview.failures(connection, workspace_id),
            backlog=overview.backlog(connection, workspace_id),
            unclaimed=overview.unclaimed(connection),
            silent=overview.silent(connection),
            overdue=overview.overdue(connection),
            queued=depth[JobState.QUEUED],
        )
        spent = cost.today(connection, workspace_id)
        known_pools = pools.views(connection, queue_for_pool)
        known_clusters = clusters.views(connection)
        state = overview.database(connection)
    took = (time.perf_counter() - began) * 1000
    detail = f"{state.connections} of {state.max_connections} connections, {size(state.bytes)}; asked in {took:.0f} ms"
    parts += [_cluster(cluster) for cluster in known_clusters]
    parts.append(
        ComponentView(name="postgres", kind="database", seen_at=datetime.now(UTC), state="well", detail=detail)
    )
    parts.sort(key=lambda part: (_KINDS.index(part.kind) if part.kind in _KINDS else len(_KINDS), part.name))
    return Picture(
        depth=depth,
        more_than=COUNTED,
        spent=spent,
        concerns=concerns(facts),
        parts=parts,
        pools=known_pools,
        failed=sum(one.jobs for one in facts.failures),
    )


def _cluster(cluster: ClusterView) -> ComponentView:
    """A cluster as a part: its launchers tell what works there."""
    wrong = [cluster.trouble] if cluster.trouble else []
    wrong += [f"{check.name}: {check.detail}" for check in cluster.checks if not check.ok]
    launchers = f"{cluster.launchers} launcher{'' if cluster.launchers == 1 else 's'}"
    watched = cluster.launchers > 0 or not cluster.pools
    return ComponentView(
        name=cluster.name,
        kind="cluster",
        seen_at=cluster.heard_at or cluster.checked_at or cluster.created_at,
        state="silent" if not watched else "broken" if wrong else "well",
        detail="; ".join(wrong) or ("draining" if cluster.draining else launchers),
    )


@router.get("/")
@shared
def show_overview(request: Request, db: Db, viewer: Viewer) -> Response:
    """The overview."""
    return render(request, "overview.html", picture=_look(db, viewer.workspace_id))
