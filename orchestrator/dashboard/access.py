"""Who is at the browser, and what they may do: the same ladder of roles as the API's tokens."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Form, Request

from orchestrator.dashboard.render import COOKIE
from orchestrator.domain import roles
from orchestrator.domain.errors import PermissionDenied
from orchestrator.store import sessions
from orchestrator.store.audit import Act, Audited
from orchestrator.store.session import Database
from orchestrator.store.sessions import Session


class SignInNeeded(Exception):
    """Nobody is signed in here; `back` is where they wanted to go."""

    def __init__(self, back: str) -> None:
        super().__init__(back)
        self.location = f"/login?next={quote(back, safe='')}" if back not in {"", "/"} else "/login"


def _session(request: Request) -> Session:
    secret = request.cookies.get(COOKIE)
    database: Database = request.app.state.database
    found = None
    if secret:
        with database.transaction() as connection:
            found = sessions.find(connection, secret)
    if found is None:
        asked = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        raise SignInNeeded(asked if request.method == "GET" else "/")
    request.state.session = found
    return found


# What asks nobody needs no thread, and changing over to one costs more than it does: those below are coroutines.
def _at_least(role: str) -> Callable[[Session], Awaitable[Session]]:
    async def check(session: Annotated[Session, Depends(_session)]) -> Session:
        roles.require(session.role, role)
        return session

    return check


def _acting(role: str) -> Callable[..., Awaitable[Session]]:
    """For actions: the form must have come from a page that this session was shown."""

    async def check(
        session: Annotated[Session, Depends(_session)], csrf: Annotated[str, Form(max_length=100)] = ""
    ) -> Session:
        roles.require(session.role, role)
        if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
            raise PermissionDenied(
                "This form is not from your present session.", hint="Go back, reload the page, and try again."
            )
        return session

    return check


Viewer = Annotated[Session, Depends(_at_least("viewer"))]
Submitter = Annotated[Session, Depends(_at_least("submitter"))]
Operator = Annotated[Session, Depends(_at_least("operator"))]
Admin = Annotated[Session, Depends(_at_least("admin"))]

# The same for POST routes, which check the token of the form, too.
ActingViewer = Annotated[Session, Depends(_acting("viewer"))]
ActingSubmitter = Annotated[Session, Depends(_acting("submitter"))]
ActingOperator = Annotated[Session, Depends(_acting("operator"))]
ActingAdmin = Annotated[Session, Depends(_acting("admin"))]


def audited(request: Request) -> Database:
    """The database; what somebody changes through it leaves an entry in the audit log."""
    return Audited(request.app.state.database, lambda: _act(request))


async def _database(request: Request) -> Database:
    """The database, audited for actions."""
    database: Database = request.app.state.database
    return database if request.method == "GET" else audited(request)


def _act(request: Request) -> Act | None:
    session: Session | None = getattr(request.state, "session", None)
    if session is None:
        return None
    return Act(
        workspace_id=session.workspace_id,
        actor=session.user,
        role=session.role,
        via="dashboard",
        action=request.scope["route"].name,
        target=" ".join(map(str, request.path_params.values())),
        request_id=request.scope.get("request_id", ""),
    )


Db = Annotated[Database, Depends(_database)]
