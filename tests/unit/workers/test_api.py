"""What a worker makes of an answer that is not the API's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.domain.errors import ServerError
from orchestrator.domain.protocol import Heartbeat, ReportBatch
from workers.api import Api


class _Proxy(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        page = b"<html>Please sign in.</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    """Calls that end at a proxy which answers everything with a page of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Api(f"http://127.0.0.1:{server.server_address[1]}", "nobody")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_a_proxy_is_a_fault_that_may_pass(api: Api) -> None:
    for call in (
        lambda: api.heartbeat(Heartbeat(worker="w-1")),
        lambda: api.report(ReportBatch(worker="w-1")),
        lambda: api.attach(0, "pod"),
    ):
        with pytest.raises(ServerError, match="not Neutrino's") as caught:
            call()
        assert caught.value.retryable
