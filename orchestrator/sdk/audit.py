"""The audit log of the workspace."""

from __future__ import annotations

from orchestrator.domain.audit import AuditEntry, AuditVerdict
from orchestrator.sdk.binding import Bound, D, Operation, Streaming
from orchestrator.sdk.steps import Steps, Stream
from orchestrator.sdk.transport import get, pages


class Audit(Bound[D]):
    """Who did what. Only admins may look."""

    @Streaming
    def list(self) -> Stream[AuditEntry]:
        """All entries, newest first."""
        yield from pages("/v1/audit", AuditEntry)

    @Operation
    def verify(self) -> Steps[AuditVerdict]:
        """Whether every entry is as it was written; the API computes the chain again, part by part."""
        verdict = yield from get("/v1/audit/verify", AuditVerdict)
        while verdict.next is not None:
            verdict = yield from get("/v1/audit/verify", AuditVerdict, after=verdict.next)
        return verdict
