"""Models that go to another cloud: planned, begun, watched; and copies that are checked."""

from __future__ import annotations

import secrets
import shutil
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Query, Request

from cloud_adapters.errors import AccessDenied, ObjectNotFound
from cloud_adapters.transfer import Estimate, estimate
from cloud_adapters.transfer.estimate import ASSUMED_RATE
from orchestrator.api.auth import Submitter, Viewer
from orchestrator.api.dependencies import Cursor, Db, IdempotencyKey, Limit, fingerprint
from orchestrator.api.outside import apart, reach, try_writing
from orchestrator.domain.errors import Conflict, NeutrinoError, NotFound, PermissionDenied
from orchestrator.domain.ids import decode
from orchestrator.domain.transfer import Migrate, MigrationPlan, MigrationView, Place, VerifyCopies
from orchestrator.domain.views import Page
from orchestrator.store import drafts, idempotency, models, transfers
from orchestrator.store.drafts import Draft
from orchestrator.store.listing import decode_cursor, encode_cursor

router = APIRouter(prefix="/v1", tags=["migrations"])


def _plan(draft: Draft, workspace_id: int, wanted: Migrate) -> MigrationPlan:
    """Look at the stores themselves. Raises the error of the one that cannot be used."""
    failure: NeutrinoError | None = None
    for source in draft.sources:
        try:
            found = _estimate(draft, source, workspace_id, wanted)
        except NeutrinoError as error:
            failure = error
            continue
        _probe(draft, workspace_id, found.bytes_to_move)
        return MigrationPlan(
            model=draft.version.ref,
            artifact=draft.version.artifact.id,
            source=source.store,
            destination=draft.store,
            cloud=draft.target.cloud or "",
            move=wanted.move,
            files=found.files,
            total_bytes=found.total_bytes,
            bytes_to_move=found.bytes_to_move,
            seconds=found.seconds,
            usd=found.cost.usd,
            route=found.cost.route,
            tariff=found.cost.source,
        )
    assert failure is not None, "a draft has sources"
    raise _unusable(draft.store, failure)


def _estimate(draft: Draft, source: Place, workspace_id: int, wanted: Migrate) -> Estimate:
    fresh = f"artifacts/{workspace_id}/plan-{secrets.token_hex(8)}"  # where it would go there is nothing yet
    return estimate(
        reach(source.store),
        source.prefix,
        reach(draft.store),
        fresh,
        reuse=draft.reuse,
        rate=min(wanted.limit or ASSUMED_RATE, ASSUMED_RATE),
        paranoid=wanted.paranoid,
    )


def _probe(draft: Draft, workspace_id: int, size: int) -> None:
    """Raise unless the destination lets us write, and has room where it can tell."""
    try:
        try_writing(draft.store, workspace_id)
    except NeutrinoError as error:
        raise _unusable(draft.store, error) from error
    address = urlsplit(draft.store)
    if address.scheme == "file" and (free := shutil.disk_usage(unquote(address.path)).free) < size:
        raise Conflict(f"{draft.store} has {free} bytes left, and {size} are to be moved.", hint="Make room there.")


def _unusable(store: str, error: NeutrinoError) -> NeutrinoError:
    hint = "Nothing has changed. `neutrino doctor` checks the stores."
    if isinstance(error, AccessDenied):
        return PermissionDenied(f"{store} cannot be used: {error.message}", hint=hint)
    if isinstance(error, ObjectNotFound):
        return NotFound(f"{store} cannot be used: {error.message}", hint=hint)
    return error if error.retryable else Conflict(f"{store} cannot be used: {error.message}", hint=hint)


@router.post("/models/{name}/{version}/migrate/plan")
@apart
def plan(db: Db, caller: Submitter, name: str, version: str, wanted: Migrate) -> MigrationPlan:
    """What a migration would move, how long that takes, and what it costs. Nothing is stored."""
    with db.transaction() as connection:
        draft = drafts.draft(connection, caller.workspace_id, name, version, wanted)
    return _plan(draft, caller.workspace_id, wanted)


@router.post("/models/{name}/{version}/migrate", status_code=202)
@apart
def migrate(
    request: Request, db: Db, caller: Submitter, key: IdempotencyKey, name: str, version: str, wanted: Migrate
) -> MigrationView:
    """Begin to copy a model version to another cloud. The copy is seen by readers once every byte of it is verified."""
    with db.transaction() as connection:
        again = idempotency.answered(connection, caller.workspace_id, key)
        draft = None if again else drafts.draft(connection, caller.workspace_id, name, version, wanted)
    planned = _plan(draft, caller.workspace_id, wanted) if draft else None
    with db.transaction() as connection:

        def effect() -> dict[str, Any]:
            assert planned is not None, "an answer that was kept is not made again"
            assert draft is not None
            job_id = transfers.start(
                connection,
                caller.workspace_id,
                caller.user,
                artifact_id=decode("a", planned.artifact),
                source=planned.source,
                destination=planned.destination,
                model=planned.model,
                move=wanted.move,
                paranoid=wanted.paranoid,
                limit=wanted.limit,
            )
            return transfers.view(connection, job_id).model_dump(mode="json")

        body = fingerprint(request, wanted.model_dump_json().encode())
        return MigrationView.model_validate(idempotency.once(connection, caller.workspace_id, key, body, effect))


@router.post("/models/{name}/{version}/verify", status_code=202)
def verify(
    request: Request, db: Db, caller: Submitter, key: IdempotencyKey, name: str, version: str, wanted: VerifyCopies
) -> list[MigrationView]:
    """Hash every byte of the copies at rest: of all of them, or of the one at `store` (a cloud, a pool or an address).
    What is damaged is lost, and mended from a good copy."""
    with db.transaction() as connection:

        def effect() -> dict[str, Any]:
            found = models.version(connection, caller.workspace_id, name, version)
            begun = transfers.check_all(connection, caller.workspace_id, caller.user, found, wanted.store)
            return {"begun": [transfers.view(connection, job_id).model_dump(mode="json") for job_id in begun]}

        body = fingerprint(request, wanted.model_dump_json().encode())
        answer = idempotency.once(connection, caller.workspace_id, key, body, effect)
    return [MigrationView.model_validate(one) for one in answer["begun"]]


@router.get("/migrations")
def list_migrations(
    db: Db,
    caller: Viewer,
    model: Annotated[str | None, Query(max_length=128, description="Only of this model, by its name.")] = None,
    running: Annotated[bool, Query(description="Only those that have not ended.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[MigrationView]:
    """The workspace's migrations of models and checkpoints, newest first."""
    before = None if cursor is None else decode_cursor(cursor)
    with db.transaction() as connection:
        items, last = transfers.page(
            connection, caller.workspace_id, model=model, open_only=running, before=before, limit=limit
        )
    return Page(items=tuple(items), next=None if last is None else encode_cursor(last))


@router.get("/migrations/{migration_id}")
def get_migration(db: Db, caller: Viewer, migration_id: str) -> MigrationView:
    """One migration. It is a job: its log, its events and its end are those of the job with this id."""
    with db.transaction() as connection:
        return transfers.get(connection, caller.workspace_id, migration_id)
