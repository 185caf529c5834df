"""What one process serves: the API and the dashboard. Neither knows the other; here they are put together."""

from __future__ import annotations

import os
import sys

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator import logs, traces
from orchestrator.api.app import THREADS
from orchestrator.api.app import create_app as create_api
from orchestrator.api.middleware import Requests
from orchestrator.dashboard.app import create_app as create_dashboard
from orchestrator.domain.errors import NeutrinoError
from orchestrator.store.session import Database

DEFAULT_BIND = "127.0.0.1:8470"
_DRAIN_SECONDS = 5


def create_server(database: Database) -> ASGIApp:
    """API and dashboard on a database. What does not begin like a route of the API is the dashboard's."""
    api = create_api(database)
    dashboard = Requests(create_dashboard(database, api.state.changes))
    firsts = {path.split("/")[1] for path in [*api.openapi()["paths"], "/docs", "/redoc", "/openapi.json", "/metrics"]}

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        # The lifespan is the API's; the dashboard's streams live on what it starts.
        ours = scope["type"] == "http" and scope["path"].split("/")[1] not in firsts
        await (dashboard if ours else api)(scope, receive, send)

    return serve


def main() -> None:
    """Serve until SIGTERM; streams are ended first, so that their clients go to another replica."""
    logs.configure("api")
    host, _, port = os.environ.get("NEUTRINO_BIND", DEFAULT_BIND).rpartition(":")
    try:
        traces.configure("api")
        app = create_server(Database.from_env(pool_size=THREADS, application="neutrino-api"))
    except NeutrinoError as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=host,
        port=int(port),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=75,
    )
