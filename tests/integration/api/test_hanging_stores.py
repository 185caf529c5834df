"""A store that hangs holds up those who ask for it, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from orchestrator.api.app import THREADS
from orchestrator.domain.views import CreatePool
from orchestrator.store import pools
from tests.integration.api.client import Api, serve


class Hanging(ThreadingHTTPServer):
    """A store that answers nobody until it is `released`, and then refuses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Waiting)
        self.asked = threading.Semaphore(0)
        self.writes = 0
        self.released = threading.Event()


class _Waiting(BaseHTTPRequestHandler):
    server: Hanging

    def do_PUT(self) -> None:
        self.server.writes += 1
        self.server.asked.release()
        self.do_HEAD()

    def do_HEAD(self) -> None:
        self.server.released.wait()
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """A store that hangs, and credentials for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with Hanging() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def test_probes_are_answered_while_a_store_hangs_and_it_is_looked_at_once(api: Api, hanging: Hanging) -> None:
    with api.database.transaction() as connection:
        store = f"s3://bucket?endpoint=http://127.0.0.1:{hanging.server_port}"
        pools.create(connection, CreatePool(name="far", store=store))
    headers = {"Authorization": f"Bearer {api.tokens['submitter']}"}
    with serve(api.app) as url, ThreadPoolExecutor(THREADS + 4) as crowd:

        def check(_: int) -> httpx.Response:
            return httpx.post(f"{url}/v1/stores/check", headers=headers, timeout=60)

        answers = [crowd.submit(check, one) for one in range(THREADS + 4)]
        assert hanging.asked.acquire(timeout=30)
        refused = next(one.result() for one in as_completed(answers))
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        assert hanging.writes == 1
        hanging.released.set()
        assert {one.result().status_code for one in answers} <= {200, 503}
