"""Reports and claims: one call at a time carries all ends that happened meanwhile, and asks for as many new attempts as
slots are free. The busier a worker is, the more rides in one call: the loop clocks itself.

While other attempts run, a report waits a moment for company: a call costs the API and the database far more than one
more report in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from orchestrator.domain.errors import NeutrinoError, NotFound
from orchestrator.domain.protocol import LONGEST_MESSAGE, MAX_BATCH, Lease, Report, ReportBatch, Reported
from orchestrator.domain.state import Reason
from workers.backoff import Backoff

log = logging.getLogger(__name__)


_COMPANY_SECONDS = 0.015


class Exchange:
    """`slots` is how many there are and `free` how many are free, `call` talks to the API, `on_lease` takes what was
    claimed, and `on_unknown` hears that the API does not know this worker."""

    def __init__(
        self,
        slots: int,
        worker: Callable[[], str],
        call: Callable[[ReportBatch], Awaitable[Reported]],
        free: Callable[[], int],
        on_lease: Callable[[Lease], None],
        on_unknown: Callable[[], None],
    ) -> None:
        self._enough = slots // 2
        self._slots = slots
        self._worker = worker
        self._call = call
        self._free = free
        self._on_lease = on_lease
        self._on_unknown = on_unknown
        self._reports: dict[str, Report] = {}
        self._hungry = True
        self._suspects = 0
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._emptied = asyncio.Event()

    @property
    def unsent(self) -> set[str]:
        """Attempts that have ended and whose report has not been accepted."""
        return set(self._reports)

    def report(self, report: Report) -> None:
        """An attempt has ended."""
        self._reports[report.attempt] = report
        self._tell_emptied()
        self._wake.set()

    def forget(self, attempt: str) -> None:
        """The lease is gone, so that no report of it would be accepted."""
        self._reports.pop(attempt, None)
        self._tell_emptied()

    async def emptied(self) -> None:
        """Return when no report waits any more."""
        self._tell_emptied()
        await self._emptied.wait()

    def _tell_emptied(self) -> None:
        (self._emptied.clear if self._reports else self._emptied.set)()

    def work_waits(self) -> None:
        """There is something to claim, or so it seems."""
        self._hungry = True
        self._wake.set()

    def slot_freed(self) -> None:
        """A slot came free without a report."""
        self._wake.set()

    async def settled(self) -> None:
        """Return when no call is under way: then what it claimed is known."""
        await self._settled.wait()

    async def run(self) -> None:
        """Report and claim until cancelled."""
        backoff = Backoff()
        self._wake.set()
        while True:
            await self._wake.wait()
            await self._gather()
            self._wake.clear()
            while ((slots := self._free()) and self._hungry) or self._reports:
                try:
                    await self._exchange(slots)
                except NeutrinoError as error:
                    self._hungry = True
                    await backoff.wait(error)
                else:
                    backoff.reset()
                    await self._gather()

    async def _gather(self) -> None:
        """Wait for half of the slots to end, as long as others are running that might, and not for long."""
        if not 0 < len(self._reports) < self._enough or self._free() == self._slots:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMPANY_SECONDS):
                while len(self._reports) < self._enough and self._free() < self._slots:
                    self._wake.clear()
                    await self._wake.wait()

    async def _exchange(self, slots: int) -> None:
        sent = list(self._reports.values())[: 1 if self._suspects else MAX_BATCH]
        self._hungry = False  # a bell that rings from now on counts again
        self._settled.clear()
        try:
            answer = await self._call(ReportBatch(worker=self._worker(), reports=tuple(sent), slots=slots))
        except NotFound:
            self._on_unknown()
            raise
        except NeutrinoError as error:
            if error.retryable or error.status in {401, 403}:
                raise
            log.error("The API refuses the reports of %s: %s", ", ".join(r.attempt for r in sent), error)
            self._amend(sent, error)
            raise
        else:
            self._drop(sent)
            self._suspects = max(0, self._suspects - len(sent))
            for attempt in answer.lost:
                log.warning("The report of %s came too late.", attempt)
            for lease in answer.leases:
                self._on_lease(lease)
            self._hungry |= 0 < slots <= len(answer.leases)
        finally:
            self._settled.set()

    def _amend(self, sent: list[Report], error: NeutrinoError) -> None:
        """Sent again as they are they would be refused again. Of several, each goes alone, so that only the bad one
        suffers; in its place goes one that says what was wrong. One that is refused even so is dropped."""
        if len(sent) != 1:
            self._suspects = len(sent)
            return
        (refused,) = sent
        self._suspects = max(0, self._suspects - 1)
        self._drop(sent)
        reason = Reason.UPLOAD_FAILED if refused.output is not None else Reason.INFRA_ERROR
        if refused.reason is not reason:
            text = f"The API refused its report. {error}"[:LONGEST_MESSAGE]
            self.report(Report(attempt=refused.attempt, reason=reason, message=text, exit_code=refused.exit_code))

    def _drop(self, sent: list[Report]) -> None:
        for report in sent:
            if self._reports.get(report.attempt) is report:
                del self._reports[report.attempt]
        self._tell_emptied()
