"""The application: routes, errors, and what they share."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import Depends, FastAPI

from orchestrator.api import errors, openapi
from orchestrator.api.auth import Authenticator, Doorkeeper
from orchestrator.api.lookout import Lookout
from orchestrator.api.middleware import Requests
from orchestrator.api.routes import (
    audit,
    checks,
    clusters,
    files,
    health,
    jobs,
    migrations,
    models,
    moves,
    notifications,
    pods,
    pools,
    protocol,
    scrape,
    sessions,
    status,
    stores,
    streams,
    tokens,
    workers,
)
from orchestrator.api.strict import strictly
from orchestrator.api.tick import Tick
from orchestrator.store.changes import Changes
from orchestrator.store.session import Database
from orchestrator.version import VERSION

THREADS = 16
"""Requests that wait for the database at once; each of them holds one connection."""


def create_app(database: Database) -> FastAPI:
    """The API on a database."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        app.state.changes.start()
        tick = Tick(database, f"api@{socket.gethostname()}:{os.getpid()}")
        lookout = Lookout(database)
        tick.start()
        lookout.start()
        yield
        tick.stop()
        lookout.stop()
        await app.state.changes.stop()
        database.close()

    app = FastAPI(
        title="Neutrino",
        version=VERSION,
        summary="One control plane for AI jobs on every cloud",
        lifespan=life,
        docs_url=None,  # its page would load scripts from another host; the document is at /openapi.json
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.database = database
    app.state.authenticator = Authenticator(database)
    app.state.changes = Changes(database)
    errors.install(app)
    openapi.install(app)
    app.add_middleware(Doorkeeper, authenticator=app.state.authenticator)
    app.add_middleware(Requests)  # the last one added is the first to see a request
    for module in (
        jobs,
        moves,
        streams,
        models,
        migrations,
        stores,
        checks,
        files,
        pools,
        workers,
        tokens,
        status,
        audit,
        sessions,
        notifications,
        clusters,
        protocol,
        scrape,
        pods,
        health,
    ):
        app.include_router(module.router, dependencies=[Depends(strictly)])
    return app
