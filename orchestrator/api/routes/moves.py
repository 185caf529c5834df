"""Jobs that go to another cloud, and checkpoints on request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from cloud_adapters.artifacts import read_manifest
from cloud_adapters.egress import usd_per_gib
from cloud_adapters.errors import ObjectNotFound
from cloud_adapters.transfer.estimate import ASSUMED_RATE
from orchestrator.api.auth import Submitter
from orchestrator.api.dependencies import Db, IdempotencyKey, fingerprint
from orchestrator.api.outside import apart, reach, try_writing
from orchestrator.domain.errors import Conflict, NeutrinoError
from orchestrator.domain.moves import MoveJob, MoveView
from orchestrator.domain.placement import PoolState
from orchestrator.domain.views import JobSummary
from orchestrator.store import ahead, idempotency, jobs, moves
from orchestrator.store.session import Database

router = APIRouter(prefix="/v1", tags=["jobs"])

_LOOKS = 3  # at checkpoints that may be superseded while we look


@router.post("/jobs/{job_id}/migrate", status_code=202)
@apart
def migrate(request: Request, db: Db, caller: Submitter, key: IdempotencyKey, job_id: str, wanted: MoveJob) -> MoveView:
    """Let a job go on in another cloud: it checkpoints, stops, and resumes there. Everything that can be known to stand
    in the way is refused before anything changes."""
    with db.transaction() as connection:
        row_id = jobs.find(connection, caller.workspace_id, job_id)
        again = idempotency.answered(connection, caller.workspace_id, key)
        if not again:
            view, pool = moves.plan(connection, row_id, wanted.to, usd_per_gib, ASSUMED_RATE)
    shared = 0
    if not again:
        _reach(pool, caller.workspace_id)
        shared = _shared(db, row_id) if view.bytes_to_move else 0
        if wanted.dry_run:
            with db.transaction() as connection:
                return moves.plan(connection, row_id, wanted.to, usd_per_gib, ASSUMED_RATE, shared)[0]
    with db.transaction() as connection:

        def effect() -> dict[str, Any]:
            now = moves.begin(connection, row_id, wanted.to, usd_per_gib, ASSUMED_RATE, caller.user, shared)
            return now.model_dump(mode="json")

        body = fingerprint(request, wanted.model_dump_json().encode())
        return MoveView.model_validate(idempotency.once(connection, caller.workspace_id, key, body, effect))


def _reach(pool: PoolState, workspace_id: int) -> None:
    """Raise Conflict unless the store next to a pool answers and lets us write: there the job's checkpoints will go."""
    try:
        try_writing(pool.store, workspace_id)
    except NeutrinoError as error:
        text = f"The job cannot go to pool {pool.name}, because its store {pool.store} cannot be used: {error}"
        raise Conflict(text, hint="Nothing has changed. `neutrino doctor` checks the stores.") from error


def _shared(db: Database, row_id: int) -> int:
    """The bytes that the two newest checkpoints of a job have in common; 0 when that cannot be known."""
    for _ in range(_LOOKS):
        with db.transaction() as connection:
            recent = ahead.recent(connection, row_id)
        if len(recent) < 2:
            return 0
        try:
            newest, before = (read_manifest(reach(one.store), one.prefix) for one in recent)
        except ObjectNotFound:  # superseded meanwhile
            continue
        except NeutrinoError:
            return 0
        known = {file.sha256 for file in before.files}
        return sum(file.size for file in newest.files if file.sha256 in known)
    return 0


@router.post("/jobs/{job_id}/checkpoint", status_code=202)
def checkpoint(request: Request, db: Db, caller: Submitter, key: IdempotencyKey, job_id: str) -> JobSummary:
    """Let a running job take a checkpoint at its next opportunity."""
    with db.transaction() as connection:
        row_id = jobs.find(connection, caller.workspace_id, job_id)

        def effect() -> dict[str, Any]:
            moves.ask_for_checkpoint(connection, row_id, caller.user)
            return jobs.summaries(connection, [row_id])[0].model_dump(mode="json")

        answer = idempotency.once(connection, caller.workspace_id, key, fingerprint(request), effect)
        return JobSummary.model_validate(answer)
