"""The heartbeat: one call renews all leases; without an answer for too long the worker gives them up.

The worker counts from before it asked, so that its idea of a lease always ends before the database's. The zygote counts
too: when this process is stopped, it kills the attempts by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from orchestrator.domain.errors import NeutrinoError, NotFound
from orchestrator.domain.protocol import LEASE_SECONDS, SURRENDER_AFTER_SECONDS, HeartbeatReply
from workers.zygote import clock

log = logging.getLogger(__name__)

_RETRY_SHARE = 0.2  # of the time between heartbeats


class Pulse:
    """`call` sends a heartbeat, `on_reply` obeys the answer, `on_alive` hears until when the leases are good."""

    def __init__(
        self,
        call: Callable[[], Awaitable[HeartbeatReply]],
        on_reply: Callable[[HeartbeatReply], Awaitable[None]],
        on_alive: Callable[[float], None],
        on_unknown: Callable[[], None],
    ) -> None:
        self._call = call
        self._on_reply = on_reply
        self._on_alive = on_alive
        self._on_unknown = on_unknown
        self._now = asyncio.Event()
        self._good_until = 0.0
        self._interval = 0.0
        self._surrender = 0.0

    def begin(self, asked: float, lease_seconds: float, heartbeat_seconds: float) -> None:
        """The worker has registered; `asked` is when it began to."""
        self._interval = heartbeat_seconds
        self._surrender = lease_seconds * SURRENDER_AFTER_SECONDS / LEASE_SECONDS
        self._answered(asked)

    @property
    def expired(self) -> bool:
        """True when the leases may not be relied on any more."""
        return clock() > self._good_until

    def beat_now(self) -> None:
        """Do not wait for the next turn."""
        self._now.set()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            pause = await self._beat()
            try:
                async with asyncio.timeout(pause):
                    await self._now.wait()
            except TimeoutError:
                continue

    async def _beat(self) -> float:
        """Send one heartbeat; returns how long to wait for the next."""
        self._now.clear()
        asked = clock()
        try:
            reply = await self._call()
        except NeutrinoError as error:
            log.warning("No heartbeat: %s", error)
            if isinstance(error, NotFound):
                self._on_unknown()
            return self._interval * _RETRY_SHARE
        self._answered(asked)
        await self._on_reply(reply)
        return self._interval

    def _answered(self, asked: float) -> None:
        self._good_until = asked + self._surrender
        self._on_alive(self._good_until)
