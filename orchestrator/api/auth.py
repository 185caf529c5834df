"""Who calls, and what they may do. Every route but health asks here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.api.errors import answer
from orchestrator.domain import roles
from orchestrator.domain.errors import AuthenticationError, NeutrinoError, PermissionDenied
from orchestrator.domain.ids import AttemptId
from orchestrator.store import tokens
from orchestrator.store.fence import Holder
from orchestrator.store.session import Database
from orchestrator.store.tokens import Principal

CACHE_SECONDS = 2.0
"""For so long a token that was good is not looked up again: a revoked one dies within it."""
_CACHE_SIZE = 4096
_LARGE_BODY = 64 * 1024

_bearer = HTTPBearer(auto_error=False, description="A token from `neutrino token create`.")


class Authenticator:
    """Looks tokens up. Those of attempts are never cached, because their leases end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[float, Principal]] = {}

    def principal(self, secret: str) -> Principal:
        """Whom a secret stands for. Raises AuthenticationError."""
        now = time.monotonic()
        known = self._known.get(secret)
        if known is not None and known[0] > now:
            return known[1]
        with self._database.transaction() as connection:
            principal = tokens.authenticate(connection, secret)
        if principal is None:
            self._known.pop(secret, None)
            hint = "An admin makes one with `neutrino token create`; `neutrino login URL` stores it."
            raise AuthenticationError("The token is unknown, expired or revoked.", hint=hint)
        if principal.attempt is None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[secret] = (now + CACHE_SECONDS, principal)
        return principal

    def forget(self) -> None:
        """Look every token up again."""
        self._known.clear()


class Doorkeeper:
    """ASGI middleware: a large body, or one of unknown length, is read only from those whose token is good. Without it
    strangers would be refused only after all that they send had been read."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/") and _may_be_large(scope):
            request = Request(scope)
            scheme, secret = get_authorization_scheme_param(request.headers.get("authorization"))
            try:
                await to_thread.run_sync(self._authenticator.principal, secret if scheme.lower() == "bearer" else "")
            except NeutrinoError as error:
                response = answer(request, error)
                response.headers["Connection"] = "close"  # the server would read on otherwise
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _may_be_large(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not length.isdigit() or int(length) > _LARGE_BODY


def _caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    if credentials is None:
        raise AuthenticationError("This route needs a token.", hint="Send it as `Authorization: Bearer <token>`.")
    authenticator: Authenticator = request.app.state.authenticator
    principal = authenticator.principal(credentials.credentials)
    request.state.caller = principal
    return principal


def _lasting(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Callable[[], bool]:
    def lasts() -> bool:
        try:
            _caller(request, credentials)
        except AuthenticationError:
            return False
        return True

    return lasts


def _at_least(role: str) -> Callable[[Principal], Principal]:
    def check(principal: Annotated[Principal, Depends(_caller)]) -> Principal:
        roles.require(principal.role, role)
        return principal

    return check


_NEEDS_WORKER = "Use a token of the role worker: `neutrino token create NAME --user USER --role worker`."


def _worker_or_attempt(principal: Annotated[Principal, Depends(_caller)]) -> Principal:
    if principal.role not in {"worker", "attempt"}:
        raise PermissionDenied(f"Only workers call this; the token's role is {principal.role}.", hint=_NEEDS_WORKER)
    return principal


WorkerOrAttempt = Annotated[Principal, Depends(_worker_or_attempt)]


def only_worker(principal: WorkerOrAttempt) -> Principal:
    """The caller, who speaks for a worker as a whole. Raises PermissionDenied for an attempt's token."""
    if principal.attempt is not None:
        raise PermissionDenied("The token of an attempt speaks for that attempt only.", hint=_NEEDS_WORKER)
    return principal


def _only_attempt(principal: WorkerOrAttempt) -> AttemptId:
    if principal.attempt is None:
        raise PermissionDenied(
            "Only a pod calls this, with the token of its attempt.",
            hint="Its launcher gives it one as NEUTRINO_TOKEN; a worker's token is for what all of its attempts share.",
        )
    return principal.attempt


def _scraper(principal: Annotated[Principal, Depends(_caller)]) -> Principal:
    if principal.role == "attempt":
        raise PermissionDenied(
            "An attempt's token is for what belongs to the attempt.", hint="Use the token of a person or of a worker."
        )
    return principal


def _file_reader(principal: Annotated[Principal, Depends(_caller)]) -> Principal:
    if principal.role == "worker":
        raise PermissionDenied(
            "A worker reads files with the token of the attempt that needs them.",
            hint="The attempt's lease brings that token.",
        )
    return principal


Viewer = Annotated[Principal, Depends(_at_least("viewer"))]
Submitter = Annotated[Principal, Depends(_at_least("submitter"))]
Operator = Annotated[Principal, Depends(_at_least("operator"))]
Admin = Annotated[Principal, Depends(_at_least("admin"))]
OnlyWorker = Depends(only_worker)
OnlyAttempt = Annotated[AttemptId, Depends(_only_attempt)]
Scraper = Annotated[Principal, Depends(_scraper)]
FileReader = Annotated[Principal, Depends(_file_reader)]

Lasting = Annotated[Callable[[], bool], Depends(_lasting)]
"""Whether the caller's token is still good: answers that go on for long ask before each piece."""


def holder(principal: Principal, worker_id: int | None = None) -> Holder:
    """In whose name effects are written: an attempt speaks for itself, a worker for the attempts it names."""
    return Holder(principal.worker_id if principal.attempt else worker_id, principal.attempt)
