"""A real HTTP server on loopback that answers as each test tells it: slow, broken, or not at all."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.sdk import transport
from orchestrator.sdk.client import Client


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """What to answer. `chunks` are sent one by one; with `cut`, the connection breaks off after them."""

    status: int = 200
    json: Any = None
    chunks: Iterable[bytes] = ()
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Answer = Reply | Callable[[Request], Reply]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that left is part of many tests
            super().handle_error(request, client_address)


class ScriptedApi:
    """Answers each request with the next line of its script; the last line is repeated."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._script: list[Answer] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answers(self, *script: Answer) -> None:
        self._script = list(script)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _next(self, request: Request) -> Reply:
        self.requests.append(request)
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return answer if isinstance(answer, Reply) else answer(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                split = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = api._next(Request(self.command, split.path, parse_qs(split.query), headers, body))
                content = json.dumps(reply.json).encode() if reply.json is not None else b""
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                if reply.chunks or reply.cut:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for chunk in reply.chunks:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                        self.wfile.flush()
                    if reply.cut:
                        self.close_connection = True
                    else:
                        self.wfile.write(b"0\r\n\r\n")
                else:
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(b"" if self.command == "HEAD" else content)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _serve  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        return Handler


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    server = ScriptedApi()
    yield server
    server.close()


@pytest.fixture
def client(api: ScriptedApi) -> Iterator[Client]:
    with Client(api.url, "nt-test-token") as connected:
        yield connected


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts keep their course but not their length."""
    monkeypatch.setattr(transport, "_BACKOFF", (0.001, 0.01))


@pytest.fixture(autouse=True)
def _own_profile(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees or changes the profile of whoever runs it."""
    monkeypatch.setenv("NEUTRINO_CONFIG", str(tmp_path_factory.mktemp("config") / "config.json"))
    for name in ("NEUTRINO_API_URL", "NEUTRINO_TOKEN", "NEUTRINO_RUN_DIR"):
        monkeypatch.delenv(name, raising=False)


NOW = "2026-11-21T07:00:00Z"


def summary(state: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    """A JobSummary as it travels."""
    return {
        "id": "j-1", "name": "digits", "kind": "Train", "labels": {}, "user": "ada", "state": state,
        "reason": "claimed", "message": "Running.", "epoch": 1, "pool": "local", "progress": None, "exitCode": None,
        "createdAt": NOW, "startedAt": NOW, "finishedAt": None,
    } | changes  # fmt: skip


def event(kind: str, data: Any, event_id: str | None = None) -> bytes:
    """A server-sent event as bytes."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"event: {kind}\n{head}data: {json.dumps(data)}\n\n".encode()


def entry(number: int) -> dict[str, Any]:
    """A log line as it travels."""
    return {"id": f"1.{number}", "epoch": 1, "line": number, "at": 1.0, "stream": "stdout", "text": f"line {number}"}
