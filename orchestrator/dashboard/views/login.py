"""Signing in and out, and the choice of light or dark."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote

from anyio.from_thread import run as run_in_loop
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.dashboard.access import ActingViewer, Db, audited
from orchestrator.dashboard.live import Live
from orchestrator.dashboard.render import COOKIE, THEME_COOKIE, THEMES, give_cookie, inside, render
from orchestrator.domain import roles
from orchestrator.domain.errors import NeutrinoError, NotFound, PermissionDenied, RateLimited
from orchestrator.store import sessions, tokens
from orchestrator.store.session import Connection
from orchestrator.store.tokens import Principal

if TYPE_CHECKING:
    from orchestrator.dashboard.oidc import Provider

router = APIRouter()

_YEAR_SECONDS = 31_536_000
_AWAY = "neutrino_away"
"""The cookie of somebody who is at the identity provider: state, nonce and verifier of PKCE, and where to go then. Only
their browser has it, so whoever only asks for the way there costs nothing; the provider takes each code once."""
_AWAY_PARTS = 4
_AWAY_SECONDS = 600


def _ours(request: Request) -> None:
    """Before there is a session there is no token in the form, so the browser has to say where it comes from."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise PermissionDenied("This sign-in came from another site.", hint="Open the dashboard and sign in there.")


def admit(request: Request, principal: Principal, to: str, grants: Mapping[str, str] | None = None) -> Response:
    """Begin a session with a new secret, in place of the one that this browser had."""
    with audited(request).transaction() as connection:
        secret = sessions.begin(connection, principal, grants=grants)
        _replace(connection, request, secret)
    return _welcome(request, secret, to)


def _replace(connection: Connection, request: Request, secret: str) -> None:
    """End the session that this browser had; the act is that of the new one, for the audit log."""
    before = sessions.find(connection, request.cookies.get(COOKIE, ""))
    if before is not None:
        sessions.end(connection, before.id)
    request.state.session = sessions.find(connection, secret)


def _welcome(request: Request, secret: str, to: str) -> Response:
    answer = RedirectResponse(inside(to), status_code=303)
    give_cookie(request, answer, secret)
    return answer


def _form(request: Request, to: str, error: str | None = None, status: int = 200) -> Response:
    return render(
        request, "login.html", status=status, next=inside(to), error=error, provider=request.app.state.provider
    )


@router.get("/login")
def form(request: Request, next: str = "/") -> Response:  # noqa: A002 - the usual name in the address
    """The form."""
    return _form(request, next)


@router.post("/login")
def sign_in(
    request: Request,
    db: Db,
    token: Annotated[str, Form(max_length=500)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/",  # noqa: A002
) -> Response:
    """Sign in with a token of a person."""
    _ours(request)
    address = request.client.host if request.client else ""
    with db.transaction() as connection:
        try:
            sessions.refuse_guessing(connection, address)
        except RateLimited as error:
            return _form(request, next, f"{error.message} {error.hint}", 429)
        principal = tokens.authenticate(connection, token.strip())
        if principal is None or principal.role not in roles.LADDER:
            sessions.failed(connection, address)
            return _form(request, next, "This token is unknown, expired or revoked, or it belongs to a worker.", 401)
    return admit(request, principal, next)


@router.get("/login/once")
def use_link(request: Request, key: str = "") -> Response:
    """Sign in with a link from `neutrino ui`, which opens it; a link of another site signs nobody in."""
    _ours(request)
    with audited(request).transaction() as connection:
        secret = sessions.take_over(connection, key)
        if secret is not None:
            _replace(connection, request, secret)
    if secret is None:
        return _form(request, "/", "This link was used before, or it is older than a minute.", 401)
    return _welcome(request, secret, "/")


@router.get("/login/oidc")
def go_to_provider(request: Request, next: str = "/") -> Response:  # noqa: A002
    """Send the browser to the identity provider."""
    provider = _provider(request)
    try:
        departure = provider.depart(_redirect_uri(request, provider))
    except NeutrinoError as fault:
        return _form(request, next, str(fault), fault.status)
    answer = RedirectResponse(departure.url, status_code=303)
    answer.set_cookie(
        _AWAY,
        ":".join((departure.state, departure.nonce, departure.verifier, quote(inside(next), safe=""))),
        max_age=_AWAY_SECONDS,
        path="/login",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get("/login/oidc/back")
def sign_in_with_provider(request: Request, db: Db, state: str = "", code: str = "", error: str = "") -> Response:
    """Sign in whom the identity provider sends back to the browser that went there."""
    provider = _provider(request)
    away = request.cookies.get(_AWAY, "").split(":")
    if len(away) != _AWAY_PARTS or not hmac.compare_digest(away[0].encode(), state.encode()):
        return _form(request, "/", "This sign-in was not begun here, or it took too long. Try again.", 401)
    _, nonce, verifier, to = away
    if error or not code:
        return _form(request, unquote(to), f"The identity provider refused: {error or 'no code'}.", 401)
    try:
        uri = _redirect_uri(request, provider)
        who = provider.arrive(code, nonce=nonce, verifier=verifier, redirect_uri=uri)
        with db.transaction() as connection:
            known = {name: tokens.workspace_id(connection, name) for name in tokens.existing(connection, who.roles)}
            first = next(iter(known), None) or next(iter(who.roles))
            workspace_id = tokens.workspace_id(connection, first)
    except NeutrinoError as refusal:
        return _form(request, unquote(to), str(refusal), refusal.status)
    principal = Principal(0, workspace_id, first, who.user, who.roles[first])
    answer = admit(request, principal, unquote(to), {name: who.roles[name] for name in known})
    answer.delete_cookie(_AWAY, path="/login")
    return answer


def _provider(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound("No identity provider is configured.", hint="Sign in with a token.")
    return provider


def _redirect_uri(request: Request, provider: Provider) -> str:
    base = provider.settings.public_url or str(request.base_url).rstrip("/")
    return f"{base}/login/oidc/back"


@router.post("/logout")
def sign_out(request: Request, db: Db, viewer: ActingViewer) -> Response:
    """End the session and its streams."""
    with db.transaction() as connection:
        sessions.end(connection, viewer.id)
    live: Live = request.app.state.live
    run_in_loop(_end_streams, live, viewer.id)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE)
    return answer


async def _end_streams(live: Live, session: int) -> None:
    live.end(session)


@router.post("/ui/workspace")
def choose_workspace(
    request: Request, db: Db, viewer: ActingViewer, workspace: Annotated[str, Form(max_length=200)]
) -> Response:
    """Change to another workspace that the identity provider's groups let one into; streams of the old one end."""
    with db.transaction() as connection:
        sessions.enter(connection, viewer.id, workspace)
    live: Live = request.app.state.live
    run_in_loop(_end_streams, live, viewer.id)
    return RedirectResponse("/", status_code=303)


@router.post("/ui/theme")
def choose_theme(
    theme: Annotated[str, Form(max_length=10)] = "auto", back: Annotated[str, Form(max_length=2000)] = "/"
) -> Response:
    """Light, dark, or as the system has it."""
    answer = RedirectResponse(inside(back), status_code=303)
    answer.set_cookie(THEME_COOKIE, theme if theme in THEMES else "auto", max_age=_YEAR_SECONDS, samesite="lax")
    return answer
