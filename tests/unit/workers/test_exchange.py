"""Reports go to the API together; one that it refuses harms no other."""

from __future__ import annotations

import asyncio

from orchestrator.domain.errors import FieldError, InvalidSpec
from orchestrator.domain.protocol import ArtifactUpload, Report, ReportBatch, Reported
from orchestrator.domain.state import Reason
from workers.exchange import Exchange

OUTPUT = ArtifactUpload(store="file:///elsewhere", prefix="artifacts/1/x", digest="0" * 64, size=1, files=1)


async def _play(reports: list[Report], refuses: frozenset[tuple[str, Reason]]) -> list[Report]:
    accepted: list[Report] = []

    async def call(batch: ReportBatch) -> Reported:
        if any((report.attempt, report.reason) in refuses for report in batch.reports):
            raise InvalidSpec.of([FieldError("artifact.store", "is not the store of its pool")])
        accepted.extend(batch.reports)
        return Reported()

    exchange = Exchange(
        4, worker=lambda: "w-1", call=call, free=lambda: 0, on_lease=lambda _: None, on_unknown=lambda: None
    )
    for report in reports:
        exchange.report(report)
    running = asyncio.create_task(exchange.run())
    try:
        await asyncio.wait_for(exchange.emptied(), 30)
    finally:
        running.cancel()
    return accepted


def test_a_refused_report_is_replaced_by_one_that_says_so_and_the_others_arrive() -> None:
    good = [Report(attempt=f"j-{number}.1", reason=Reason.SUCCEEDED) for number in (1, 2, 4)]
    bad = Report(attempt="j-3.1", reason=Reason.SUCCEEDED, output=OUTPUT)
    accepted = asyncio.run(_play([*good[:2], bad, good[2]], frozenset({("j-3.1", Reason.SUCCEEDED)})))
    found = {report.attempt: report for report in accepted}
    assert [found[report.attempt].reason for report in good] == [Reason.SUCCEEDED] * 3
    assert found["j-3.1"].reason is Reason.UPLOAD_FAILED
    assert found["j-3.1"].output is None
    assert "not the store of its pool" in found["j-3.1"].message


def test_what_is_refused_even_so_is_dropped() -> None:
    bad = Report(attempt="j-3.1", reason=Reason.SUCCEEDED)
    refuses = frozenset({("j-3.1", Reason.SUCCEEDED), ("j-3.1", Reason.INFRA_ERROR)})
    assert asyncio.run(_play([bad], refuses)) == []
