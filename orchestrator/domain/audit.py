"""What the audit log answers, to people and programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from orchestrator.domain.model import Model


class AuditEntry(Model):
    """Something that somebody did. `hash` is the SHA-256 of the entry before and of this one, in hex."""

    seq: int
    at: datetime
    actor: str
    role: str
    via: str
    action: str
    target: str
    detail: dict[str, Any]
    request_id: str
    hash: str


class AuditVerdict(Model):
    """Whether the chain holds. `broken_at` is the first entry that is not what was written, or is missing; `head` is
    the hash of the newest entry: kept elsewhere, it proves later that nothing before it was changed. A long chain is
    verified in parts: `next` is the entry behind which the next one begins."""

    entries: int
    head: str | None
    broken_at: int | None
    next: int | None = None
    message: str
