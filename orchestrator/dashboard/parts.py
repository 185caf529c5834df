"""Parts of pages that many tabs ask for at the same moment, after the same change: drawn once, and handed to all.

What a part shows depends on the workspace, the role and the address, and on nothing else of whoever asks but the token
in its forms. That is put in at the end: what is kept is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from orchestrator.dashboard.live import Live
from orchestrator.dashboard.recent import Recent
from orchestrator.store.sessions import Session

_SOMEBODY = "token-of-whoever-asks"


def shared(view: Callable[..., Response]) -> Callable[..., Response]:
    """A view whose parts are drawn at most once per change, and once a second. Whole pages are drawn for each."""

    @wraps(view)
    def answer(*, request: Request, viewer: Session, **given: Any) -> Response:
        part = request.headers.get("HX-Target")
        if part is None:
            return view(request=request, viewer=viewer, **given)

        def draw() -> Response:
            request.state.session = replace(viewer, csrf=_SOMEBODY, due=False)
            return view(request=request, viewer=viewer, **given)

        live: Live = request.app.state.live
        recent: Recent = request.app.state.recent
        whose = (viewer.workspace_id, viewer.role, live.changes_of(viewer.workspace_id))
        drawn = recent.get((part, request.url.path, request.url.query, *whose), draw)
        if not isinstance(drawn, HTMLResponse):
            return drawn
        html = bytes(drawn.body).replace(_SOMEBODY.encode(), viewer.csrf.encode())
        return HTMLResponse(html, drawn.status_code, {"Vary": drawn.headers["Vary"]})

    return answer
