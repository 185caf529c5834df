"""What happens to every request: an id, a bound on the body, a line in the log."""

from __future__ import annotations

import json
import logging
import secrets
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator import metrics, traces
from orchestrator.api.errors import most_bytes, too_large
from orchestrator.api.openapi import PROBLEM
from orchestrator.domain.errors import FieldError, InvalidSpec, NeutrinoError, TooLarge

log = logging.getLogger("neutrino.access")

_FACTS = ("method", "path", "status", "milliseconds", "request_id")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = ("/healthz", "/readyz", "/metrics", "/v1/worker/")


class Requests:
    """ASGI middleware; `X-Request-Id` is taken from the caller when it is harmless, else made."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if given.isascii() and given.replace("-", "").isalnum() and len(given) <= 64 else ""
        scope["request_id"] = request_id or f"r-{secrets.token_hex(8)}"
        given = traces.accepted(headers.get(traces.HEADER.encode(), b"").decode("latin-1"))
        if scope["path"].startswith(_QUIET):
            await self._serve(scope, receive, send, given)
            return
        with traces.span(scope["method"], given, "server") as traced:
            status = await self._serve(scope, receive, send, traced.traceparent)
            name = f"{scope['method']} {_route(scope)}"
            traced.add(name, **{"http.response.status_code": status or 499, "request_id": scope["request_id"]})

    async def _serve(self, scope: Scope, receive: Receive, send: Send, traceparent: str | None) -> int | None:
        """Returns the status that was answered, if any was."""
        scope[traces.HEADER] = traceparent
        headers = dict(scope["headers"])
        answer = _Answer(send, scope["request_id"])
        started = time.perf_counter()
        try:
            length = headers.get(b"content-length", b"0")
            if length.isdigit() and int(length) > most_bytes(scope["path"]):
                raise too_large(scope["path"])
            if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
                raise InvalidSpec.of([FieldError("url", "contains a NUL character, which nothing here is named with")])
            await self._app(scope, _bounded(receive, most_bytes(scope["path"])), answer)
        except (TooLarge, InvalidSpec) as error:
            if answer.status is not None:
                raise
            await answer.problem(error)
        finally:
            _time(scope, answer.status, time.perf_counter() - started)
            if not scope["path"].startswith(_QUIET):
                took = (time.perf_counter() - started) * 1000
                line = "%s %s %s %.1fms %s"
                facts = (scope["method"], scope["path"], answer.status, took, scope["request_id"])
                log.info(line, *facts, extra=dict(zip(_FACTS, facts, strict=True)))
        return answer.status


def _route(scope: Scope) -> str:
    """The path of the route, not of the request: there are few of them."""
    path: str = getattr(scope.get("route"), "path", "unmatched")
    return path


def _time(scope: Scope, status: int | None, seconds: float) -> None:
    """For Prometheus. What matched no route is one label, so that callers cannot make up new ones."""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    metrics.REQUESTS.labels(method, _route(scope), str(status or 499)).observe(seconds)


def _bounded(receive: Receive, most: int) -> Receive:
    """Count what arrives: a chunked body has no length beforehand."""
    arrived = 0

    async def counting() -> Message:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > most:
            raise HTTPException(413)  # the one exception that FastAPI lets through while it reads a body
        return message

    return counting


class _Answer:
    """Sends on, and adds the request's id and what browsers should know."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._headers = [
            (b"x-request-id", request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = list(message.get("headers", ()))
            named = {name for name, _ in given}
            message = dict(message) | {"headers": given + [pair for pair in self._headers if pair[0] not in named]}
        await self._send(message)

    async def problem(self, error: NeutrinoError) -> None:
        """Answer with an error that arose before the application could."""
        error.request_id = self._request_id
        body = json.dumps(error.to_problem()).encode()
        headers: list[Any] = [
            (b"content-type", PROBLEM.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self({"type": "http.response.start", "status": error.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})
