"""What pods and their launchers call, beside what every worker calls. See `orchestrator.domain.protocol`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from orchestrator import settings
from orchestrator.api.auth import OnlyAttempt, OnlyWorker, WorkerOrAttempt
from orchestrator.api.dependencies import Db
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.pods import Checked
from orchestrator.domain.protocol import NodeBeat, NodeReply, PodLease
from orchestrator.store import clusters, pods

router = APIRouter(prefix="/v1/worker", tags=["workers"])

_Token = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


@router.post("/attach")
def attach(
    db: Db,
    caller: WorkerOrAttempt,
    attempt: OnlyAttempt,
    token: _Token,
    pod: Annotated[str, Query(min_length=1, max_length=64)],
    node: Annotated[int, Query(ge=0, le=1023)] = 0,
) -> PodLease:
    """A pod, named by its uid, takes its attempt over from the launcher. 409 `lease_lost` when the attempt is no longer
    the job's current one, or another pod runs this node of it."""
    assert caller.worker_id is not None
    with db.transaction() as connection:
        lease, store = pods.attach(connection, attempt, node, pod, token.credentials, settings.current().lease_seconds)
    return PodLease(
        lease=lease,
        worker=encode("w", caller.worker_id),
        store=store,
        lease_seconds=settings.current().lease_seconds,
        heartbeat_seconds=settings.current().heartbeat_seconds,
    )


@router.post("/node")
def node(db: Db, attempt: OnlyAttempt, beat: NodeBeat) -> NodeReply:
    """A node of an attempt lives. The first node renews the lease."""
    with db.transaction() as connection:
        return pods.beat(connection, attempt, beat, settings.current().lease_seconds)


@router.post("/checked", status_code=204, dependencies=[OnlyWorker])
def checked(db: Db, found: Checked) -> None:
    """What a launcher has found on the cluster of its pool."""
    with db.transaction() as connection:
        clusters.found(connection, decode("w", found.worker), found.checks)
