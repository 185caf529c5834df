"""Files that users name for their jobs, addressed by their content."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request, Response

from orchestrator.api.auth import FileReader, Submitter
from orchestrator.api.dependencies import Db
from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.store import files
from orchestrator.store.session import Database

router = APIRouter(prefix="/v1/files", tags=["files"])

BYTES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
"""How OpenAPI is told that an answer is a file."""

_SENT = {"requestBody": {"required": True, "content": {"application/octet-stream": {}}}}

Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="The SHA-256 of the content, in lowercase hex.")]


def _keep(db: Database, workspace_id: int, sha256: str, content: bytes) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise InvalidSpec.of([FieldError("path.sha256", f"the content's hash is {actual}", "Send the content again.")])
    with db.transaction() as connection:
        files.put(connection, workspace_id, sha256, content)


@router.put("/{sha256}", status_code=204, openapi_extra=_SENT)
async def put_file(request: Request, db: Db, caller: Submitter, sha256: Digest) -> None:
    """Keep a file of at most 16 MiB. Sending it again changes nothing."""
    await run_sync(_keep, db, caller.workspace_id, sha256, await request.body())


@router.head("/{sha256}")
def has_file(db: Db, caller: FileReader, sha256: Digest) -> Response:
    """204 when the file is here, 404 when it must be sent."""
    with db.transaction() as connection:
        return Response(status_code=204 if files.has(connection, caller.workspace_id, sha256) else 404)


@router.get("/{sha256}", response_class=Response, responses=BYTES)
def get_file(db: Db, caller: FileReader, sha256: Digest) -> Response:
    """The content of a file."""
    with db.transaction() as connection:
        content = files.get(connection, caller.workspace_id, sha256)
    return Response(content, media_type="application/octet-stream")
