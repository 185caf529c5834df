"""Every error becomes a page that says what happened and what to do next."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from orchestrator.dashboard.access import SignInNeeded
from orchestrator.dashboard.render import render
from orchestrator.domain.errors import NeutrinoError, ServerError

log = logging.getLogger(__name__)


def _page(request: Request, status: int, message: str, hint: str | None) -> Response:
    return render(
        request,
        "error.html",
        status=status,
        message=message,
        hint=hint,
        code=status,
        request_id=request.scope.get("request_id"),
    )


def _sign_in(request: Request, error: Exception) -> Response:
    """Pages send people to the form; parts of a page make htmx go there."""
    assert isinstance(error, SignInNeeded)
    if "HX-Request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": "/login"})
    if request.url.path.startswith("/ui/"):
        return Response(status_code=401)
    return RedirectResponse(error.location, status_code=303)


def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, NeutrinoError)
    return _page(request, error.status, error.message, error.hint)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = first["loc"][-1] if first["loc"] else "the request"
    return _page(request, 422, f"{where}: {first['msg']}", "Go back and correct it.")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _page(request, 404, f"There is no page {request.url.path}.", "The pages are in the menu.")
    return _page(request, error.status_code, str(error.detail), None)


def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("page %s failed (%s)", request.url.path, request.scope.get("request_id"), exc_info=error)
    fault = ServerError("This page failed.", hint="The log of the API tells more about this request id.")
    return _page(request, 500, fault.message, fault.hint)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a page."""
    app.add_exception_handler(SignInNeeded, _sign_in)
    app.add_exception_handler(NeutrinoError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
