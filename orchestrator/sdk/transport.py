"""Requests and answers: retries with jitter, idempotency keys, problems as typed errors, typed results."""

from __future__ import annotations

import random
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import inf
from typing import Any, TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.errors import (
    NeutrinoError,
    RateLimited,
    ServerError,
    ServerUnavailable,
    from_problem,
)
from orchestrator.domain.views import Page
from orchestrator.sdk.steps import Call, Done, Emit, Outcome, Patience, Send, Sleep, Step, Steps, Stream, advance

T = TypeVar("T")
U = TypeVar("U")

RETRIES = 8  # with the pauses between them: 16 to 32 s, longer than an API takes to restart
BRIEF_RETRIES = 4  # 2 to 4 s, where a person is watching who can try again
_RETRIED = frozenset({429, 502, 503, 504})
_BACKOFF = (0.25, 8.0)  # first ceiling and last one, seconds; doubled each time
_LONGEST_RETRY_AFTER = 60.0  # a server that wants a longer pause is reported to the caller instead


def path(*segments: str | int) -> str:
    """A path below /v1 in which no id can name another route: `path("jobs", "../x")` stays a job's id."""
    return "/v1/" + "/".join(quote(str(segment), safe="") for segment in segments)


def query(**fields: Any) -> tuple[tuple[str, str], ...]:
    """Query parameters without those that are None; a list or tuple repeats its name."""
    return tuple(
        (name, str(item))
        for name, value in fields.items()
        if value is not None
        for item in (value if isinstance(value, list | tuple) else [value])
    )


def get(where: str, answer: type[T], **fields: Any) -> Steps[T]:
    """GET, and the answer as the given type."""
    reply = yield from exchange(Call("GET", where, query(**fields)))
    return decode(reply, answer)


def post(where: str, answer: type[T], body: Any = None) -> Steps[T]:
    """POST under a new idempotency key that is kept over the retries: however often it is sent, it takes
    effect once."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    reply = yield from exchange(Call("POST", where, json={} if body is None else body, headers=headers))
    return decode(reply, answer)


def pages(where: str, item: type[T], *, limit: int | None = None, cursor: str = "cursor", **fields: Any) -> Stream[T]:
    """Every item of a list, page after page, at most `limit` of them."""
    size = None if limit is None else min(limit, 200)
    after, left = None, limit
    while left is None or left > 0:
        page: Page[T] = yield from get(where, Page[item], limit=size, **fields, **{cursor: after})  # type: ignore[valid-type]
        for entry in page.items[:left]:
            yield Emit(entry)
        left = None if left is None else left - len(page.items)
        if page.next is None:
            return
        after = page.next


def each(stream: Stream[T], change: Callable[[T], U]) -> Stream[U]:
    """The stream with every item changed."""
    yield from _relay(stream, lambda item: Emit(change(item)))


def collect(stream: Stream[T]) -> Steps[list[T]]:
    """The items of a stream as one list."""
    items: list[T] = []
    yield from cast("Steps[None]", _relay(stream, items.append))
    return items


def _relay(stream: Stream[T], accept: Callable[[T], Emit[U] | None]) -> Stream[U]:
    """Pass the steps of a stream on, and its items to `accept`, which may hand something out in their
    place."""
    outcome = Outcome()
    while not isinstance(move := advance(stream, outcome), Done):
        outcome = Outcome()
        try:
            if not isinstance(move, Emit):
                outcome = Outcome((yield move))
            elif (accepted := accept(move.value)) is not None:
                yield accepted
        except httpx.TransportError as error:
            outcome = Outcome(error=error)


def exchange(
    call: Call, *, retries: int | None = None, deadline: float = inf, step: Callable[[Call], Step] = Send
) -> Steps[httpx.Response]:
    """Send a call until it is answered, with exponential backoff and jitter, honouring Retry-After, but not
    beyond the deadline on the monotonic clock. `retries` are the client's unless given.

    Every call may be repeated: GET, PUT and DELETE by nature, POST by its idempotency key.
    Raises the error that the answer describes, or ServerUnavailable.
    Source of the jitter ("equal jitter"): https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    last = (yield Patience()) if retries is None else retries
    for attempt in range(last + 1):
        try:
            reply: httpx.Response = yield step(call)
        except httpx.TransportError as error:
            failure: NeutrinoError = _unreachable(error)
            pause = 0.0
        else:
            if reply.is_success:
                return reply
            failure, pause = _problem(reply)
            if reply.status_code not in _RETRIED or pause > _LONGEST_RETRY_AFTER:
                raise failure
        pause = max(pause, backoff(attempt))
        if attempt == last or time.monotonic() + pause > deadline:
            raise failure
        yield Sleep(pause)
    raise AssertionError("unreachable")


def backoff(attempt: int) -> float:
    """Seconds to wait after failure number `attempt`, counted from 0: at least half of what they are at most, so that
    the retries together outlast a restart however the dice fall."""
    first, last = _BACKOFF
    longest = min(last, first * 2.0 ** min(attempt, 30))
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret


def decode(reply: httpx.Response, answer: type[T]) -> T:
    """The typed answer. Fields that a newer API adds are passed over."""
    if answer is type(None):
        return None
    try:
        decoded: T = _adapter(cast("Any", answer)).validate_json(reply.content, extra="ignore")
    except ValidationError:
        message = f"{_origin(reply.request)} answered something that is not Neutrino's."
        hint = "Check the URL and that client and server are of the same release (`neutrino status`)."
        raise ServerError(message, hint=hint, request_id=_request_id(reply)) from None
    return decoded


@cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def _problem(reply: httpx.Response) -> tuple[NeutrinoError, float]:
    """The error that an answer describes, and the pause in seconds that it asks for."""
    pause = _retry_after(reply)
    try:
        body = reply.json()
    except ValueError:
        body = None
    problem: Mapping[str, Any] = body if isinstance(body, Mapping) else _plain(reply)
    failure = from_problem({"request_id": _request_id(reply), **problem}, status=reply.status_code)
    if isinstance(failure, RateLimited) and pause:
        failure.details.setdefault("retry_after", pause)
    return failure, pause


def _plain(reply: httpx.Response) -> dict[str, Any]:
    """A problem for an answer that is none: a proxy's page, or another server altogether."""
    status = f"{reply.status_code} {reply.reason_phrase}".strip()
    problem: dict[str, Any] = {"detail": f"{_origin(reply.request)} answered {status}."}
    if reply.status_code == 429:
        problem["code"] = RateLimited.code
    if not reply.is_server_error:
        problem["hint"] = "Is this the address of a Neutrino API? `neutrino doctor` checks."
    return problem


def _unreachable(error: httpx.TransportError) -> ServerUnavailable:
    where = _origin(error.request)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        causes = list(_causes(error))
        hint = "Start it with `neutrino up`, or name another one with `neutrino login`."
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            return ServerUnavailable(f"The host of {where} is not known.", hint="Check the address, and the network.")
        if refused := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
            hint = "Is it served without TLS? Then write http://. Is its authority your own? Then set SSL_CERT_FILE."
            return ServerUnavailable(f"{where} cannot be spoken to by TLS: {refused.reason or refused}.", hint=hint)
        return ServerUnavailable(f"Nothing answers at {where}.", hint=hint)
    hint = "The request was repeated without success; `neutrino doctor` looks for the cause."
    return ServerUnavailable(f"The connection to {where} broke off ({type(error).__name__}).", hint=hint)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _origin(request: httpx.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"


def _request_id(reply: httpx.Response) -> str | None:
    request_id: str | None = reply.headers.get("x-request-id")
    return request_id


def _retry_after(reply: httpx.Response) -> float:
    """Seconds of a Retry-After header; 0 without one, or with a date, which clocks that disagree make
    worthless."""
    value = reply.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
