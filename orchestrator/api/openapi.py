"""The errors of every route in the OpenAPI document, derived from what the route asks for.

A route that needs a token can answer 401, one that reads a body 413, and so on; nothing has to be declared beside the
route. What can happen for another reason is declared there as `responses={429: {}}`, and is completed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.domain.errors import (
    AuthenticationError,
    Conflict,
    InvalidSpec,
    NeutrinoError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    ServerUnavailable,
    TooLarge,
    UnsupportedMedia,
)

PROBLEM = "application/problem+json"
_KINDS: tuple[type[NeutrinoError], ...] = (
    AuthenticationError,
    PermissionDenied,
    NotFound,
    Conflict,
    TooLarge,
    UnsupportedMedia,
    InvalidSpec,
    RateLimited,
    ServerError,
    ServerUnavailable,
)
_METHODS = {"get", "head", "post", "put", "patch", "delete"}


class Fault(BaseModel):
    """One thing wrong with a request."""

    path: str = Field(description="Where: a path in the body, or `query.`, `path.` or `header.` and a name.")
    message: str
    hint: str | None = None
    line: int | None = None
    column: int | None = None


class Problem(BaseModel):
    """An error, as RFC 9457 describes it. Some errors have further members."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:neutrino:error:not_found"])
    title: str
    status: int
    detail: str = Field(description="What happened, for people.")
    code: str = Field(description="What happened, for programs.")
    retryable: bool = Field(description="Whether the same request can succeed later.")
    hint: str | None = Field(default=None, description="What to do next.")
    request_id: str | None = Field(default=None, description="Finds the request in the API's log.")
    errors: list[Fault] | None = Field(default=None, description="Every fault of the request.")


def install(app: FastAPI) -> None:
    """Complete the OpenAPI document of `app`, whatever routes it has by the time somebody reads it."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        document = plain()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if Problem.__name__ not in schemas:
            _complete(document, schemas)
        return document

    app.openapi = complete  # type: ignore[method-assign]


def _complete(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas[Problem.__name__] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                _describe(path, method, operation)


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    declared = {int(status) for status in responses if status.isdigit() and int(status) >= 400}
    for status in sorted(declared | set(_possible(path, method, operation))):
        kind = next((kind for kind in _KINDS if kind.status == status), None)
        sentence = (kind.__doc__ or "").strip() if kind else HTTPStatus(status).phrase
        responses[str(status)] = {
            "description": " ".join(sentence.split()),
            "content": {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
        }


def _possible(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[int]:
    """The errors that an operation can answer, for what it asks of a request."""
    body = operation.get("requestBody")
    named = {parameter["name"] for parameter in operation.get("parameters", ())}
    yield from (InvalidSpec.status, ServerError.status)
    if operation.get("security"):
        yield from (AuthenticationError.status, PermissionDenied.status, ServerUnavailable.status)
    if "{" in path or body or "job" in named:  # something is named that may not be there
        yield NotFound.status
    if method not in {"get", "head"}:
        yield Conflict.status
    if body:
        yield TooLarge.status
    if body and "application/json" in body["content"]:
        yield UnsupportedMedia.status
