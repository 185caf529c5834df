"""Templates. A page and its live parts are one: htmx asks for the page again and gets only the block it shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from orchestrator.dashboard import ansi, static
from orchestrator.dashboard.formats import FILTERS
from orchestrator.domain import roles
from orchestrator.store import sessions
from orchestrator.store.session import Database
from orchestrator.store.sessions import Session
from orchestrator.version import VERSION

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "neutrino_theme"
COOKIE = "neutrino_session"


@cache
def environment() -> Environment:
    """The templates. Everything is escaped, and what of a text is invisible is shown; a name that is not given is an
    error, not an empty string."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=ansi.shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(FILTERS)
    made.globals.update(static=static.address, version=VERSION, allows=roles.allows)
    made.globals["ui"] = made.get_template("_macros.html").module
    return made


def inside(address: str) -> str:
    """A place of ours that a page or an answer leads to; never another host."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if plain else "/"


def render(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """Answer with a page.

    A request of htmx (`HX-Target: section#queue`) gets the block of that name alone, when the template has one: the id
    of an element and the name of its block are the same.
    """
    page = environment().get_template(template)
    theme = request.cookies.get(THEME_COOKIE, "auto")
    values = {
        "request": request,
        "viewer": getattr(request.state, "session", None),
        "path": request.url.path,
        "here": inside(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path),
        "theme": theme if theme in THEMES else "auto",
        **context,
    }
    part = request.headers.get("HX-Target", "").rpartition("#")[2]
    block = page.blocks.get(part)
    html = "".join(block(page.new_context(values))) if block else page.render(values)
    answer = HTMLResponse(html, status_code=status, headers={"Vary": "HX-Target, Cookie"})
    session: Session | None = values["viewer"]
    if session is not None and session.due and block is None:
        _renew(request, answer, session)
    return answer


def give_cookie(request: Request, answer: Response, secret: str) -> None:
    """Let the browser keep the secret of a session: for us alone, and out of the reach of scripts."""
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=round(sessions.LIFETIME_HOURS * 3600),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def _renew(request: Request, answer: Response, session: Session) -> None:
    """Replace the secret, with a page and not with a part of one: of all that a browser asks for at a time, one."""
    database: Database = request.app.state.database
    with database.transaction() as connection:
        secret = sessions.rotate(connection, session.id)
    if secret is not None:
        give_cookie(request, answer, secret)
