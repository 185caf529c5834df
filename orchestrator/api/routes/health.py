"""Health, for probes, and the schema of job documents, for editors. Nothing here needs a token or tells a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter

from orchestrator.api.dependencies import Db
from orchestrator.domain.document import json_schema
from orchestrator.domain.protocol import Health

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Health:
    """The process serves. Needs no thread: they may all be waiting for a database that hangs."""
    return Health(status="ok", now=datetime.now(UTC))


@router.get("/readyz", responses={503: {}})
def readyz(db: Db) -> Health:
    """The database answers too; 503 when it does not."""
    return Health(status="ok", now=db.now())


@router.get("/schemas/job.v1.json")
def job_schema() -> dict[str, Any]:
    """The JSON Schema of job documents."""
    return json_schema()
