"""How a worker or a launcher becomes one: it registers, however long that takes, and listens to its doorbells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from orchestrator.broker import celery_app
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import RegisterWorker, WorkerRegistered
from workers.backoff import Backoff
from workers.doorbell import Listener
from workers.pulse import Pulse
from workers.zygote import clock

log = logging.getLogger(__name__)


async def register(
    send: Callable[[], Awaitable[WorkerRegistered]], body: RegisterWorker, pulse: Pulse
) -> WorkerRegistered:
    """`send` the `body` until the API answers; leases count from before we asked. Raises NeutrinoError when the API
    refuses us."""
    backoff = Backoff()
    while True:
        asked = clock()
        try:
            registered = await send()
        except NeutrinoError as error:
            if not error.retryable:
                raise
            await backoff.wait(error)
            continue
        backoff.reset()
        pulse.begin(asked, registered.lease_seconds, registered.heartbeat_seconds)
        log.info("Registered as %s (%s) in pool %s.", registered.worker, body.name, body.pool)
        return registered


def listen(
    redis_url: str, registered: WorkerRegistered, on_work: Callable[[], None], on_beat: Callable[[], None]
) -> Listener:
    """Hear the bells of the pool (`on_work`) and our own (`on_beat`); both are called in the running event loop."""
    loop = asyncio.get_running_loop()
    pool_queue, own_queue = registered.queues
    bell = Listener(
        celery_app(redis_url),
        worker=registered.worker,
        pool_queue=pool_queue,
        own_queue=own_queue,
        on_work=lambda: soon(loop, on_work),
        on_beat=lambda: soon(loop, on_beat),
    )
    bell.start()
    return bell


def soon(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    """Have `act` called in the loop, from another thread. A loop that has ended hears nothing any more."""
    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(act)
