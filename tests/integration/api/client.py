"""The API as a client sees it: in this process for most tests, as a real server for streams and broken bodies."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn
from anyio.from_thread import BlockingPortal
from fastapi import FastAPI

from orchestrator.domain.views import CreatePool, CreateToken
from orchestrator.store import pools, tokens
from orchestrator.store.session import Database

ROLES = ("viewer", "submitter", "operator", "admin", "worker")
DOCUMENT: dict[str, Any] = {
    "apiVersion": "neutrino/v1",
    "kind": "Command",
    "metadata": {"name": "hello"},
    "spec": {"command": ["true"]},
}
WORKER = {"name": "w", "pool": "local", "slots": 4, "host": "here", "pid": 1, "version": "0"}


class Api:
    """Requests to an application, each with the token of a role."""

    def __init__(self, app: FastAPI, database: Database, portal: BlockingPortal, store: str) -> None:
        self.app = app
        self.database = database
        self._portal = portal
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://neutrino")
        with database.transaction() as connection:
            pools.create(connection, CreatePool(name="local", store=store))
            workspace, other = (tokens.ensure_workspace(connection, name) for name in ("vision", "other"))
            self.tokens = {
                role: tokens.create(
                    connection,
                    workspace,
                    CreateToken(name=role, user="ada", role=role),
                ).token
                for role in ROLES
            }
            wanted = CreateToken(name="stranger", user="eve", role="admin")
            self.tokens["stranger"] = tokens.create(connection, other, wanted).token

    def __call__(self, method: str, path: str, role: str | None = "admin", **options: Any) -> httpx.Response:
        """A request; `role` names whose token it carries, or is a token itself."""
        headers = dict(options.pop("headers", {}))
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(role, role)}"

        async def send() -> httpx.Response:
            return await self._client.request(method, path, headers=headers, **options)

        return self._portal.call(send)

    def submit(self, role: str = "submitter", **options: Any) -> str:
        """The id of a job that has just been accepted."""
        answer = self("POST", "/v1/jobs", role, **({"json": DOCUMENT} | options))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def worker(self, name: str = "w") -> str:
        """The id of a worker that has just registered."""
        answer = self("POST", "/v1/worker/register", "worker", json=WORKER | {"name": name})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["worker"])

    def close(self) -> None:
        """Close the client."""
        self._portal.call(self._client.aclose)


@contextmanager
def serve(app: Callable[..., Any]) -> Iterator[str]:
    """A real server on a free port of this machine; its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=2))
    started = threading.Event()
    startup = server.startup

    async def announce(*args: Any, **kwargs: Any) -> None:
        await startup(*args, **kwargs)
        started.set()

    server.startup = announce  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        assert started.wait(timeout=120)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=120)
    assert not thread.is_alive()
