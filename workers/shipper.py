"""Sends what all attempts of a worker have produced, in one call about every 0.3 s; nothing when there is nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import MAX_BATCH, Append, AppendBatch, Appended
from workers.backoff import Backoff
from workers.feed import Feed

log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.3
_LOOK_SECONDS = 1.0
_LARGEST_CALL = 1024 * 1024


class Shipper:
    """`send` makes the call; `on_lost` hears of attempts from which nothing more is accepted."""

    def __init__(self, send: Callable[[AppendBatch], Awaitable[Appended]], on_lost: Callable[[str], None]) -> None:
        self._send = send
        self._on_lost = on_lost
        self._feeds: dict[str, Feed] = {}
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._progress = asyncio.Condition()

    def add(self, attempt: str, feed: Feed) -> None:
        """From now on, ship this feed."""
        self._feeds[attempt] = feed

    def drop(self, attempt: str) -> None:
        """Ship nothing of this attempt any more."""
        self._feeds.pop(attempt, None)

    def poke(self) -> None:
        """A feed has something."""
        self._wake.set()

    async def flush(self, attempt: str) -> None:
        """Return when all that the attempt has produced is accepted, or nothing of it is wanted any more."""
        await self._until(lambda feed: feed.empty, attempt)

    async def reach(self, attempt: str, mark: tuple[int, int]) -> None:
        """Return when all that the attempt had produced when its feed gave `mark` is accepted, or nothing of it is
        wanted any more."""
        await self._until(lambda feed: feed.reached(mark), attempt)

    async def room(self, attempt: str) -> None:
        """Return when the attempt's feed has room again."""
        await self._until(lambda feed: feed.has_room, attempt)

    async def _until(self, satisfied: Callable[[Feed], bool], attempt: str) -> None:
        async with self._progress:
            while (feed := self._feeds.get(attempt)) and not satisfied(feed):
                self._wake.set()
                self._hurry.set()
                with contextlib.suppress(TimeoutError):  # a feed that is dropped tells nobody
                    await asyncio.wait_for(self._progress.wait(), _LOOK_SECONDS)

    async def run(self) -> None:
        """Ship until cancelled."""
        backoff = Backoff()
        while True:
            await self._wake.wait()
            await self._gather()
            self._wake.clear()
            self._hurry.clear()
            while batch := self._next():
                try:
                    answer = await self._send(AppendBatch(appends=tuple(batch)))
                except NeutrinoError as error:
                    if not error.retryable and error.status not in {401, 403}:
                        log.error("The API refuses what %d attempts produced: %s", len(batch), error)
                        self._settle(batch)  # sending the same again would be refused again
                    await backoff.wait(error)
                else:
                    backoff.reset()
                    self._settle(batch)
                    for attempt in answer.lost:
                        self.drop(attempt)
                        self._on_lost(attempt)
                async with self._progress:
                    self._progress.notify_all()

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _next(self) -> list[Append]:
        batch: list[Append] = []
        size = 0
        for feed in self._feeds.values():
            append = feed.take()
            if append is None:
                continue
            batch.append(append)
            size += sum(len(line.text) for line in append.lines)
            if size > _LARGEST_CALL or len(batch) == MAX_BATCH:
                break
        return batch

    def _settle(self, batch: list[Append]) -> None:
        for append in batch:
            feed = self._feeds.get(append.attempt)
            if feed is not None:
                feed.accepted()
