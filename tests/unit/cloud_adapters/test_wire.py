"""Connections are kept for the next request, and a peer that hangs up meanwhile does no harm."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from cloud_adapters import wire
from cloud_adapters.errors import TransientStoreError
from cloud_adapters.registry import open_store
from cloud_adapters.retrying import bare
from cloud_adapters.wire import Wire


class Peer:
    """A server that gives every request the same answer, and keeps its connections."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the other side may hang up in the middle
            while connection.recv(65536):
                connection.sendall(self.answer)

    def hang_up(self) -> None:
        """Ends the connections that there are."""
        for connection in self.connections:
            with suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def close(self) -> None:
        self._listening.close()
        self.hang_up()


@pytest.fixture
def peer() -> Iterator[Peer]:
    one = Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    yield one
    one.close()


def test_a_connection_is_used_again(peer: Peer) -> None:
    connections = Wire(peer.origin)
    for _ in range(3):
        assert connections.send("GET", "/", {}).read() == b"hello"
    assert len(peer.connections) == 1


def test_connections_that_the_peer_has_ended_are_not_used(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than anybody would try again."""
    monkeypatch.setattr(wire, "_SURELY_OPEN_S", 0.0)
    connections = Wire(peer.origin)
    with ExitStack() as answers:
        held = [answers.enter_context(connections.send("GET", "/", {})) for _ in range(20)]
        assert [answer.read() for answer in held] == [b"hello"] * 20
    assert len(peer.connections) == 20
    peer.hang_up()
    assert connections.send("GET", "/", {}).read() == b"hello"
    assert len(peer.connections) == 1


def test_silence_is_told_as_what_it_is(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALL_S", 0.1)
    peer.answer = b""
    with pytest.raises(TransientStoreError, match="was silent"):
        Wire(peer.origin).send("GET", "/", {})


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
    ],
)
def test_nonsense_is_an_error_and_not_a_body(peer: Peer, answer: bytes) -> None:
    peer.answer = answer
    with pytest.raises(TransientStoreError):
        Wire(peer.origin).send("GET", "/", {}).read()


def test_a_chunked_body(peer: Peer) -> None:
    chunks = b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
    peer.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    connections = Wire(peer.origin)
    for _ in range(2):
        assert connections.send("GET", "/", {}).read() == b"hello"
    assert len(peer.connections) == 1


def test_a_body_of_which_nobody_tells_where_it_ends_is_no_object(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    peer.answer = b"HTTP/1.1 200 OK\r\n\r\nhalf of"
    with pytest.raises(TransientStoreError, match="where the object ends"):
        bare(open_store(f"s3://bucket?endpoint={peer.origin}")).open("key")
