"""What a worker makes of an answer that is not the API's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator.domain.errors import ServerError
from orchestrator.domain.protocol import Heartbeat, Report, ReportBatch
from orchestrator.domain.state import Reason
from workers.api import Api

bodies: list[object] = []


class _Proxy(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
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


def test_what_goes_without_saying_is_not_said(api: Api) -> None:
    """An API of the release before refuses fields that it does not know, and serves while both are replaced."""
    with pytest.raises(ServerError):
        api.report(ReportBatch(worker="w-1", reports=(Report(attempt="j-1.1", reason=Reason.SUCCEEDED),)))
    assert bodies[-1] == {"worker": "w-1", "reports": [{"attempt": "j-1.1", "reason": "succeeded"}]}
