"""Calls to object stores, on threads of their own: a store that hangs takes neither heartbeats nor probes along."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, fail_after
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from cloud_adapters.base import ObjectStore
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from orchestrator.api.kept import Kept
from orchestrator.domain.errors import ServerUnavailable

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 4
"""Requests that wait for stores at once; each of them may hold a connection to the database, too."""
_PATIENCE_SECONDS = 3.0
_RETRY = Retry(attempts=2)  # somebody waits, and can ask again

_stores: Kept[ObjectStore] = Kept(seconds=60.0, most=64)  # new credentials are seen after that time
_threads: RunVar[CapacityLimiter] = RunVar("threads for stores")


def _limiter() -> CapacityLimiter:
    """That of this event loop."""
    limiter = _threads.get(None)
    if limiter is None:
        limiter = CapacityLimiter(THREADS)
        _threads.set(limiter)
    return limiter


def reach(uri: str) -> RetryingStore:
    """A store for a request that waits: it is tried twice, not for minutes. Opening one takes a tenth of a second of
    processor time, so it is kept for a while. Raises what `open_store` raises."""
    return RetryingStore(_stores.get(uri, lambda: open_store(uri).inner), _RETRY)


def try_writing(uri: str, workspace_id: int) -> None:
    """Raise the NeutrinoError of a store that does not let us write, and remove what was written, into a workspace."""
    store, key = reach(uri), f"artifacts/{workspace_id}/probe-{secrets.token_hex(8)}"
    store.put(key, b"probe", create_only=True)
    store.delete(key)


def apart(route: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """A route that contacts stores, on the threads for that. It raises ServerUnavailable when none gets free soon."""

    @wraps(route)
    async def outside(*args: P.args, **kwargs: P.kwargs) -> T:
        limiter = _limiter()
        try:
            with fail_after(_PATIENCE_SECONDS):
                await limiter.acquire()
        except TimeoutError:
            text = "Too many requests wait for object stores."
            raise ServerUnavailable(text, hint="Try again. `neutrino doctor` tells which one is slow.") from None
        try:
            return await run_sync(partial(route, *args, **kwargs), limiter=CapacityLimiter(1))
        finally:
            limiter.release()

    return outside


async def pieces(body: Iterator[bytes]) -> AsyncIterator[bytes]:
    """What a store sends, each piece read on the threads for stores."""
    while (piece := await run_sync(next, body, None, limiter=_limiter())) is not None:
        yield piece
