"""What one process serves: the API and the dashboard. Neither knows the other; here they are put together."""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.types import Receive, Scope, Send

from orchestrator import logs, settings, traces
from orchestrator.api.app import THREADS
from orchestrator.api.app import create_app as create_api
from orchestrator.api.middleware import Requests
from orchestrator.dashboard.app import create_app as create_dashboard
from orchestrator.domain.errors import NeutrinoError
from orchestrator.store.changes import Changes
from orchestrator.store.session import Database

DEFAULT_BIND = "127.0.0.1:8470"
_DRAIN_SECONDS = 5


class Front:
    """API and dashboard on a database, as one application."""

    def __init__(self, database: Database) -> None:
        self._api = create_api(database)
        self._changes: Changes = self._api.state.changes
        self._dashboard = Requests(create_dashboard(database, self._changes))
        routes = [*self._api.openapi()["paths"], "/openapi.json", "/metrics"]
        self._firsts = frozenset(path.split("/")[1] for path in routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What does not begin like a route of the API is the dashboard's; the lifespan is the API's, and the
        dashboard's streams live on what it starts."""
        ours = scope["type"] == "http" and scope["path"].split("/")[1] not in self._firsts
        await (self._dashboard if ours else self._api)(scope, receive, send)

    async def end_streams(self) -> None:
        """Let go whoever watches something; the clients come back, to another replica."""
        await self._changes.stop()


class _Server(uvicorn.Server):
    """Ends streams before it waits for requests to end: they would not by themselves."""

    def __init__(self, config: uvicorn.Config, front: Front) -> None:
        super().__init__(config)
        self._front = front

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        await self._front.end_streams()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until SIGTERM; streams are ended first, so that their clients go to another replica."""
    logs.configure("api")
    try:
        settings.current()
        host, port = settings.bind("NEUTRINO_BIND", DEFAULT_BIND) or ("", 0)
        traces.configure("api")
        front = Front(Database.from_env(pool_size=THREADS, application="neutrino-api"))
    except NeutrinoError as error:
        sys.exit(str(error))
    config = uvicorn.Config(
        front,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=75,
    )
    _Server(config, front).run()
