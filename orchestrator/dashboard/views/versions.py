"""One version of a model: what it is, where its copies lie, and what can be done with it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import TypeAdapter, ValidationError

from cloud_adapters.egress import egress_price
from cloud_adapters.transfer.estimate import ASSUMED_RATE
from orchestrator.dashboard.access import ActingSubmitter, Db, Submitter, Viewer
from orchestrator.dashboard.parts import shared
from orchestrator.dashboard.render import render
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.freight import Region, cloud_of
from orchestrator.domain.ids import decode
from orchestrator.domain.spec import Name
from orchestrator.domain.transfer import Migrate
from orchestrator.store import audit, drafts, models, places, transfers
from orchestrator.store.session import Connection

router = APIRouter(prefix="/models/{name}")

_ALIAS: TypeAdapter[str] = TypeAdapter(Name)
Target = Annotated[str, Query(max_length=1024)]


def _heading(connection: Connection, viewer: Viewer, name: str, version: str) -> dict[str, Any]:
    """What every page of a version begins with. `targets` are the stores to which it can go."""
    found = models.version(connection, viewer.workspace_id, name, version)
    there = {copy.store for copy in found.artifact.replicas}
    stores = [store for store in places.stores(connection) if store.store not in there]
    return {"version": found, "name": name, "targets": stores, "address": _address(name, found.version)}


def _address(name: str, version: int) -> str:
    return f"/models/{quote(name, safe='')}/{version}"


def _page(name: str, version: int) -> Response:
    return RedirectResponse(_address(name, version), status_code=303)


@router.get("/{version}")
@shared
def version_page(request: Request, db: Db, viewer: Viewer, name: str, version: str) -> Response:
    """The version's page."""
    with db.transaction() as connection:
        return render(request, "version.html", **_heading(connection, viewer, name, version))


@router.get("/{version}/migrate")
def migration_plan(
    request: Request, db: Db, viewer: Submitter, name: str, version: str, to: Target, move: bool = False
) -> Response:
    """What it would take to copy the version to another cloud, as far as the database knows: no store is asked."""
    with db.transaction() as connection:
        context = _heading(connection, viewer, name, version)
        draft = drafts.draft(connection, viewer.workspace_id, name, version, Migrate(to=to, move=move))
        regions = {store.store: Region(store.cloud, store.region) for store in places.stores(connection)}
    source, size = draft.sources[0].store, draft.version.artifact.size
    destination = Region(draft.target.cloud or cloud_of(draft.store), draft.target.region or "")
    return render(
        request,
        "version_migrate.html",
        draft=draft,
        source=source,
        price=egress_price(size, regions.get(source) or Region(cloud_of(source)), destination),
        seconds=size / ASSUMED_RATE,
        move=move,
        **context,
    )


@router.post("/{version}/migrate")
def migrate_model(
    db: Db,
    viewer: ActingSubmitter,
    name: str,
    version: str,
    to: Annotated[str, Form(max_length=1024)],
    move: Annotated[bool, Form()] = False,
) -> Response:
    """Begin to copy the version to another cloud. Readers see the copy once every byte of it is verified."""
    with db.transaction() as connection:
        draft = drafts.draft(connection, viewer.workspace_id, name, version, Migrate(to=to, move=move))
        transfers.start(
            connection,
            viewer.workspace_id,
            viewer.user,
            artifact_id=decode("a", draft.version.artifact.id),
            source=draft.sources[0].store,
            destination=draft.store,
            model=draft.version.ref,
            move=move,
        )
        audit.about(f"{draft.version.ref} from {draft.sources[0].store} to {draft.store}", move=move)
    return _page(name, draft.version.version)


@router.post("/{version}/verify")
def verify_model(db: Db, viewer: ActingSubmitter, name: str, version: str) -> Response:
    """Begin to hash every byte of every copy; what is damaged is mended from a good one."""
    with db.transaction() as connection:
        found = models.version(connection, viewer.workspace_id, name, version)
        transfers.check_all(connection, viewer.workspace_id, viewer.user, found, None)
    return _page(name, found.version)


@router.post("/{version}/alias")
def alias_model(
    db: Db, viewer: ActingSubmitter, name: str, version: str, alias: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """Let an alias point at this version, wherever it pointed before."""
    try:
        wanted = _ALIAS.validate_python(alias.strip())
    except ValidationError:
        raise InvalidSpec.of(
            [FieldError("alias", f"{alias[:80]!r} is no alias", "Write a word of small letters, such as prod.")]
        ) from None
    with db.transaction() as connection:
        found = models.version(connection, viewer.workspace_id, name, version)
        models.set_alias(connection, viewer.workspace_id, name, wanted, found.version, viewer.user)
        audit.about(f"{name}@{wanted} is {found.ref}")
    return _page(name, found.version)


@router.post("/aliases/{alias}/remove")
def remove_alias(db: Db, viewer: ActingSubmitter, name: str, alias: str) -> Response:
    """Forget an alias. The version that it pointed at stays."""
    with db.transaction() as connection:
        found = models.version(connection, viewer.workspace_id, name, alias)
        models.remove_alias(connection, viewer.workspace_id, name, alias)
    return _page(name, found.version)


@router.get("/{version}/delete")
def deletion_plan(request: Request, db: Db, viewer: Submitter, name: str, version: str) -> Response:
    """What would be deleted, before it is."""
    with db.transaction() as connection:
        return render(request, "version_delete.html", **_heading(connection, viewer, name, version))


@router.post("/{version}/delete")
def delete_model(db: Db, viewer: ActingSubmitter, name: str, version: str) -> Response:
    """Delete a version with all of its copies. Refused while an alias or a job uses it."""
    with db.transaction() as connection:
        found = models.delete(connection, viewer.workspace_id, name, version)
        audit.about(f"{found.ref} and its copies: {len(found.artifact.replicas)}")
        last = models.count(connection, viewer.workspace_id, name) == 0
    return RedirectResponse("/models" if last else f"/models/{quote(name, safe='')}", status_code=303)
