"""Every error leaves the API as an RFC 9457 problem document with the request's id."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from orchestrator.api.openapi import PROBLEM
from orchestrator.domain.errors import (
    FieldError,
    InvalidSpec,
    NeutrinoError,
    RateLimited,
    ServerError,
    ServerUnavailable,
    TooLarge,
)
from orchestrator.domain.faults import field_errors
from orchestrator.domain.spec import MAX_FILE_BYTES

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

log = logging.getLogger(__name__)

MAX_BODY_BYTES = MAX_FILE_BYTES
MAX_DOCUMENT_BYTES = 4 * 1024**2
_BULKY = ("/v1/files/", "/v1/worker/")


def most_bytes(path: str) -> int:
    """How large a request's body may be. Documents become many times as large when they are read; files do not, and
    workers are ours."""
    return MAX_BODY_BYTES if path.startswith(_BULKY) else MAX_DOCUMENT_BYTES


def too_large(path: str) -> TooLarge:
    """The error for a body that is larger than it may be."""
    return TooLarge(
        f"The request body is larger than {most_bytes(path) // 1024**2} MiB.",
        hint="Send large data through a store, and many jobs in several batches.",
    )


def answer(request: Request, error: NeutrinoError) -> JSONResponse:
    """What a request is answered that ends with an error."""
    error.request_id = request.scope.get("request_id")
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if isinstance(error, ServerUnavailable):
        headers["Retry-After"] = "1"
    if isinstance(error, RateLimited) and error.retry_after is not None:
        headers["Retry-After"] = str(round(error.retry_after))
    return JSONResponse(error.to_problem(), status_code=error.status, media_type=PROBLEM, headers=headers)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, NeutrinoError)
    return answer(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    route = request.scope["route"]
    faults = []
    for source, details in groupby(error.errors(), lambda detail: detail["loc"][0]):
        found = list(details)
        if source == "body" and found[0]["type"] == "json_invalid":
            faults.append(_no_json(str(error.body), found[0]["loc"][1], found[0]["ctx"]["error"]))
            continue
        root = route.body_field.field_info.annotation if source == "body" else None
        below = [cast("ErrorDetails", {**detail, "loc": detail["loc"][1:]}) for detail in found]
        faults += field_errors(below, root, str if source == "body" else f"{source}.{{}}".format)
    return answer(request, InvalidSpec.of(faults))


def _no_json(text: str, position: int, why: str) -> FieldError:
    before = text[:position]
    line, column = before.count("\n") + 1, position - before.rfind("\n")
    return FieldError("", f"is not JSON: {why[:1].lower()}{why[1:]}", "Send one JSON document.", line, column)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 413:
        return answer(request, too_large(request.url.path))
    if error.status_code == 400:  # FastAPI could not read the body
        fault = FieldError("", "is not JSON that can be read", "Send JSON in UTF-8, of few levels and short numbers.")
        return answer(request, InvalidSpec.of([fault]))
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    hint = "The routes are listed at /openapi.json." if error.status_code in {404, 405} else None
    problem = {
        "type": f"urn:neutrino:error:{code}",
        "title": code.replace("_", " "),
        "status": error.status_code,
        "detail": f"{request.method} {request.url.path}: {error.detail}",
        "code": code,
        "retryable": False,
        "request_id": request.scope.get("request_id"),
    }
    if hint:
        problem["hint"] = hint
    return JSONResponse(problem, status_code=error.status_code, media_type=PROBLEM, headers=error.headers)


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("request %s failed", request.scope.get("request_id"), exc_info=error)
    broken = answer(request, ServerError("The API failed.", hint="Its log tells more about this request id."))
    # This one is sent from outside our middleware, which would have added the header.
    broken.headers["X-Request-Id"] = str(request.scope.get("request_id"))
    return broken


Handler = Callable[[Request, Any], Awaitable[JSONResponse]]
_HANDLERS: dict[type[Exception], Handler] = {
    NeutrinoError: _ours,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _unforeseen,
}


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
