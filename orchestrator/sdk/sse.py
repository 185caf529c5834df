"""Server-sent events that survive broken connections.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator
from math import inf
from typing import NamedTuple

import httpx

from orchestrator.domain.errors import ServerUnavailable
from orchestrator.sdk.steps import Call, Open, Read, Sleep, Steps
from orchestrator.sdk.transport import backoff, exchange

SILENCE = 45.0  # seconds without a byte, keep-alives included, after which a connection counts as dead
_PATIENCE = 60  # attempts to get back to a server that had answered before: about four minutes
_FRUITLESS = 10  # connections in a row that end without a byte
_LARGEST_EVENT = 16 * 1024**2


class ServerEvent(NamedTuple):
    """One event: its type, its data, and the id after which a new connection goes on."""

    type: str
    data: str
    id: str | None


class EventDecoder:
    """Bytes in, events out, wherever the bytes were cut."""

    def __init__(self) -> None:
        self._buffer = b""
        self._type, self._data, self._id = "", list[str](), ""

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """The events that are complete with this chunk. Raises ServerUnavailable for an event without end."""
        self._buffer += chunk
        if len(self._buffer) > _LARGEST_EVENT:
            raise ServerUnavailable("The API sent an event that is larger than any it has.")
        *lines, self._buffer = self._buffer.replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            if event := self._line(line.decode("utf-8", "replace")):
                yield event

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        event = ServerEvent(self._type or "message", "\n".join(self._data), self._id or None)
        complete = bool(self._data)
        self._type, self._data = "", []
        return event if complete else None


class EventSource:
    """A stream of events that opens itself again after the last event seen when the connection breaks."""

    def __init__(self, call: Call, *, last_id: str | None = None) -> None:
        self._call = call
        self._last_id = last_id
        self._decoder = EventDecoder()
        self._ready: deque[ServerEvent] = deque()
        self._timeout = 0.0  # of the open connection; 0 when none is open
        self._was_open = False
        self._fruitless = 0

    def next(self, deadline: float = inf) -> Steps[ServerEvent | None]:
        """The next event; None once the deadline, on the monotonic clock, has passed. Raises what the API
        answers to the request, and ServerUnavailable when it does not come back."""
        while not self._ready:
            left = min(SILENCE, deadline - time.monotonic())
            if left <= 0:
                return None
            if self._timeout - left > 1:  # this connection could sleep past the deadline
                self._timeout = 0.0
            yield from self._receive(left, deadline)
        event = self._ready.popleft()
        self._last_id = event.id or self._last_id
        return event

    def _receive(self, timeout: float, deadline: float) -> Steps[None]:
        if not self._timeout:
            yield from self._open(timeout, deadline)
        try:
            chunk: bytes = yield Read()
        except httpx.ReadTimeout:  # silence is no fault: the next call looks whether the server is still there
            self._timeout = 0.0
            return
        except httpx.TransportError:
            chunk = b""
        if chunk:
            self._fruitless = 0
            self._ready.extend(self._decoder.feed(chunk))
            return
        self._timeout = 0.0
        self._fruitless += 1
        if self._fruitless > _FRUITLESS:
            raise ServerUnavailable(
                "The API ends every stream without a word.", hint="`neutrino doctor` looks for the cause."
            )
        yield Sleep(backoff(self._fruitless - 1))

    def _open(self, timeout: float, deadline: float) -> Steps[None]:
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        call = dataclasses.replace(self._call, headers=headers, read_timeout=timeout)
        retries = _PATIENCE if self._was_open else None
        yield from exchange(call, retries=retries, deadline=deadline, step=Open)
        self._decoder = EventDecoder()
        self._timeout, self._was_open = timeout, True
