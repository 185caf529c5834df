"""A proxy between a mover and a server that breaks what passes through it, in ways the test chooses."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, urlsplit


@dataclass(slots=True)
class Exchange:
    """One request on its way. `body` and `headers` (names in lower case) may be changed before it is forwarded,
    `answer` before it is returned."""

    method: str
    path: str
    body: bytearray
    headers: dict[str, str] = field(default_factory=dict)
    answer: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do instead of passing an exchange on: answer `status`, cut the answer, or say nothing at all; or send the
    answer `chunked`, without its length."""

    status: int = 0
    code: str = ""
    cut: bool = False
    stall: bool = False
    chunked: bool = False


Before = Callable[[Exchange], Verdict | None]


class Faults:
    """The faults of one proxy: `before` sees each request, `after` each answer; both may alter the bytes. `headers` may
    alter those of an answer (names in lower case)."""

    def __init__(self) -> None:
        self.before: Before = lambda _: None
        self.after: Before = lambda _: None
        self.headers: Callable[[Exchange, dict[str, str]], None] = lambda *_: None
        self.released = threading.Event()
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    """Passes one request after the other on, unless its server's faults say otherwise."""

    protocol_version = "HTTP/1.1"
    server: _Proxy

    def setup(self) -> None:
        super().setup()
        target = self.server.target
        self.upstream = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Nothing: a broken request is what these tests are made of."""

    def pass_on(self) -> None:
        faults = self.server.faults
        body = bytearray(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        with faults.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            exchange = Exchange(self.command, self.path, body, headers)
            verdict = faults.before(exchange)
        if verdict:
            self.refuse(verdict)
            return
        headers = {name: value for name, value in exchange.headers.items() if name not in {"connection", "expect"}}
        self.upstream.request(self.command, self.path, bytes(exchange.body), headers)
        response = self.upstream.getresponse()
        exchange.answer = bytearray(response.read())
        with faults.lock:
            verdict = faults.after(exchange)
        if verdict and verdict.stall:
            self.refuse(verdict)
        else:
            self.answer(exchange, response, verdict or Verdict())

    def answer(self, exchange: Exchange, response: http.client.HTTPResponse, verdict: Verdict) -> None:
        self.send_response_only(response.status)
        headers = {name.lower(): value for name, value in response.getheaders()}
        self.server.faults.headers(exchange, headers)
        for name, value in headers.items():
            if name.lower() not in {"transfer-encoding", "content-length", "connection", "keep-alive"}:
                self.send_header(name, value)
        body = bytes(exchange.answer)
        if verdict.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            pieces = [piece for piece in (body[:7], body[7:]) if piece]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
        else:
            size = response.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", size or "0")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if verdict.cut else body)
        self.close_connection = self.close_connection or verdict.cut

    def refuse(self, verdict: Verdict) -> None:
        if verdict.stall:
            self.server.faults.released.wait(60)
            self.close_connection = True
            return
        text = (
            b""
            if verdict.status == 204
            else f"<Error><Code>{verdict.code}</Code><Message>as the test wishes</Message></Error>".encode()
        )
        self.send_response_only(verdict.status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/xml")
        if verdict.code:
            self.send_header("x-ms-error-code", verdict.code)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815 - http.server's names


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: SplitResult, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.faults = faults

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A mover that was killed hangs up in the middle; that is no fault of the proxy's."""


@contextmanager
def faulty(origin: str) -> Iterator[tuple[str, Faults]]:
    """The address of a proxy in front of `origin`, and its faults."""
    faults = Faults()
    target = urlsplit(origin)
    server = _Proxy(target, faults)
    thread = threading.Thread(target=server.serve_forever, name="faulty", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{target.path}", faults
    finally:
        faults.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
