"""The application: pages, the live stream, static files. `orchestrator.server` puts it next to the API."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from orchestrator.dashboard import errors, live, static
from orchestrator.dashboard.headers import Headers
from orchestrator.dashboard.recent import Recent
from orchestrator.dashboard.views import admin, cost, fleet, job, jobs, login, logs, models, overview, plots, versions
from orchestrator.store.changes import Changes
from orchestrator.store.session import Database

if TYPE_CHECKING:
    from orchestrator.dashboard.oidc import Provider


def create_app(database: Database, changes: Changes) -> FastAPI:
    """The dashboard on a database; `changes` tells it what is new."""
    app = FastAPI(title="Neutrino dashboard", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.database = database
    app.state.live = live.Live(database, changes)
    app.state.recent = Recent()
    app.state.provider = _provider()
    errors.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=700, compresslevel=5)
    app.add_middleware(Headers)
    for module in (login, overview, jobs, plots, logs, job, models, versions, fleet, cost, admin, live):
        app.include_router(module.router)
    app.mount("/static", static.Files(), name="static")
    return app


def _provider() -> Provider | None:
    """Who signs people in beside our tokens, if anybody does. Imported only then: it brings an HTTP client and
    cryptography, which is a tenth of what the whole process needs."""
    if not os.environ.get("NEUTRINO_OIDC_ISSUER"):
        return None
    from orchestrator.dashboard import oidc  # noqa: PLC0415

    settings = oidc.settings()
    return None if settings is None else oidc.Provider(settings)
