"""The only two places of the SDK that do I/O: one performs the steps of an operation blocking, one with
asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import httpx

from orchestrator.sdk.steps import (
    Call,
    Done,
    Emit,
    Open,
    Outcome,
    Patience,
    Read,
    Send,
    Sleep,
    Step,
    Steps,
    Stream,
    T,
    advance,
)

_CONNECT_TIMEOUT = 5.0
_START = Outcome()
# Raised inside the operation, which retries, resumes, or says goodbye. Everything else ends it.
_OPERATION_HANDLES = (httpx.TransportError, KeyboardInterrupt)


def _request(http: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    timeout = httpx.Timeout(call.read_timeout, connect=_CONNECT_TIMEOUT)
    body = {"json": call.json} if call.json is not None else {"content": call.content}
    return http.build_request(
        call.method, call.path, params=list(call.query), headers=call.headers, timeout=timeout, **body
    )


class Sync:
    """Performs operations in the calling thread. Safe to share between threads."""

    def __init__(self, http: httpx.Client, retries: int) -> None:
        self.http = http
        self.retries = retries

    def run(self, steps: Steps[T]) -> T:
        """The result of the operation."""
        with closing(steps), _Wire(self.http, self.retries) as wire:
            move = advance(steps, _START)
            while not isinstance(move, Done):
                move = advance(steps, wire.outcome(move))
            result: T = move.value
            return result

    def iterate(self, steps: Stream[T]) -> Iterator[T]:
        """What the operation hands out. Leaving the loop early closes the connection."""
        with closing(steps), _Wire(self.http, self.retries) as wire:
            move = advance(steps, _START)
            while not isinstance(move, Done):
                if isinstance(move, Emit):
                    yield move.value
                    move = advance(steps, _START)
                else:
                    move = advance(steps, wire.outcome(move))


class _Wire:
    """The connections of one running operation."""

    def __init__(self, http: httpx.Client, retries: int) -> None:
        self._http = http
        self._retries = retries
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def outcome(self, step: Step) -> Outcome:
        try:
            return Outcome(self._perform(step))
        except _OPERATION_HANDLES as error:
            return Outcome(error=error)

    def _perform(self, step: Step) -> Any:
        match step:
            case Send(call):
                return self._http.send(_request(self._http, call))
            case Open(call):
                self._close()
                self._response = self._http.send(_request(self._http, call), stream=True)
                if not self._response.is_success:
                    self._response.read()
                self._chunks = self._response.iter_bytes()
                return self._response
            case Read():
                return next(self._chunks, b"")
            case Sleep(seconds):
                return time.sleep(seconds)
            case Patience():
                return self._retries

    def _close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()


class Async:
    """Performs operations on the running event loop."""

    def __init__(self, http: httpx.AsyncClient, retries: int) -> None:
        self.http = http
        self.retries = retries

    async def run(self, steps: Steps[T]) -> T:
        """The result of the operation."""
        with closing(steps):
            async with _AsyncWire(self.http, self.retries) as wire:
                move = advance(steps, _START)
                while not isinstance(move, Done):
                    move = advance(steps, await wire.outcome(move))
                result: T = move.value
                return result

    async def iterate(self, steps: Stream[T]) -> AsyncIterator[T]:
        """What the operation hands out."""
        with closing(steps):
            async with _AsyncWire(self.http, self.retries) as wire:
                move = advance(steps, _START)
                while not isinstance(move, Done):
                    if isinstance(move, Emit):
                        yield move.value
                        move = advance(steps, _START)
                    else:
                        move = advance(steps, await wire.outcome(move))


class _AsyncWire:
    """The connections of one running operation."""

    def __init__(self, http: httpx.AsyncClient, retries: int) -> None:
        self._http = http
        self._retries = retries
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def outcome(self, step: Step) -> Outcome:
        try:
            return Outcome(await self._perform(step))
        except _OPERATION_HANDLES as error:
            return Outcome(error=error)

    async def _perform(self, step: Step) -> Any:
        match step:
            case Send(call):
                return await self._http.send(_request(self._http, call))
            case Open(call):
                await self._close()
                self._response = await self._http.send(_request(self._http, call), stream=True)
                if not self._response.is_success:
                    await self._response.aread()
                self._chunks = self._response.aiter_bytes()
                return self._response
            case Read():
                return await anext(self._chunks, b"") if self._chunks else b""
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Patience():
                return self._retries

    async def _close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._close()
