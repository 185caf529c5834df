"""HTTP/1.1 for moving bytes: pooled connections, bodies received straight into the caller's buffer.

Only what the data path needs (RFC 9112): no redirects, no compression, no cookies. The SDKs do everything else; see
ADR 0100 for the figures. A peer that stays silent for `STALL_S` seconds, or ends a body early, is a transient error.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
import weakref
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cloud_adapters.addresses import check_address
from cloud_adapters.errors import StoreError, TransientStoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_adapters.base import Bytes

STALL_S = 20.0
_HEAD_LIMIT = 64 * 1024
_HEAD_STEP = 4 * 1024  # most heads fit; of the body, which goes straight to where it is wanted, little comes with them
_JOIN_BELOW = 128 * 1024
_SURELY_OPEN_S = 0.5


class Wire:
    """Connections to one `http(s)://host:port`. Safe to use from many threads."""

    def __init__(self, origin: str) -> None:
        split = urlsplit(origin)
        self._tls = ssl.create_default_context() if split.scheme == "https" else None
        self._host = split.hostname or ""
        self._port = split.port or (443 if self._tls else 80)
        self.authority = split.netloc
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def send(self, method: str, target: str, headers: dict[str, str], body: Sequence[Bytes] = ()) -> Response:
        """Sends one request; the answer's body is still to be read. Raises TransientStoreError."""
        length = sum(len(piece) for piece in body)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if method in {"PUT", "POST"}:
            lines.append(f"Content-Length: {length}")
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1:
            raise StoreError("a header contains a line break")
        connection = self._take()
        try:
            connection.send(text.encode("latin-1") + b"\r\n\r\n", body, length)
            return Response(self, connection, method)
        except OSError as error:
            connection.close()
            raise _broken(self.authority, error) from error
        except BaseException:
            connection.close()
            raise

    def _take(self) -> _Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return _Connection(self._host, self._port, self._tls)
            if not connection.has_ended():
                return connection
            connection.close()

    def give_back(self, connection: _Connection) -> None:
        """Keeps a connection whose last answer was read to its end."""
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)


class _Connection:
    """One socket and the bytes that were received beyond what was asked for."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        try:
            plain = socket.create_connection((host, port), timeout=STALL_S)
        except OSError as error:
            raise _broken(f"{host}:{port}", error) from error
        try:
            check_address(plain.getpeername()[0])  # here, because a name may resolve differently each time
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = tls.wrap_socket(plain, server_hostname=host) if tls else _timed_by_the_system(plain)
        except OSError as error:
            plain.close()
            raise _broken(f"{host}:{port}", error) from error
        except BaseException:
            plain.close()
            raise
        self._flags = 0 if tls else socket.MSG_WAITALL
        self._held = bytearray()
        self.idle_since = time.monotonic()

    def has_ended(self) -> bool:
        """Whether the peer has hung up on a connection that was idle for some time. Until it is asked for something it
        has nothing else to say."""
        if time.monotonic() - self.idle_since < _SURELY_OPEN_S:
            return False
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return bool(waiting.poll(0))

    def send(self, head: bytes, body: Sequence[Bytes], length: int) -> None:
        try:
            if length < _JOIN_BELOW:
                self._socket.sendall(b"".join((head, *body)))
                return
            self._socket.sendall(head)
            for piece in body:
                self._socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # A server may answer (say, 503) and close before it has read the body: that answer is worth reading.
            return

    def read_head(self) -> bytes:
        """Everything up to the empty line, which is taken away too."""
        return self._read_until(b"\r\n\r\n")

    def read_line(self) -> bytes:
        """Everything up to the end of the line, which is taken away too."""
        return self._read_until(b"\r\n")

    def readinto(self, target: memoryview) -> int:
        """What is at hand, else what comes next; 0 when the peer closed."""
        if held := min(len(self._held), len(target)):
            target[:held] = self._held[:held]
            del self._held[:held]
        if held or not len(target):
            return held
        return self._socket.recv_into(target, 0, self._flags)

    def close(self) -> None:
        self._socket.close()

    def _read_until(self, mark: bytes) -> bytes:
        while (found := self._held.find(mark)) < 0:
            if len(self._held) > _HEAD_LIMIT:
                raise TransientStoreError("a line of the answer is too long")
            got = self._socket.recv(_HEAD_STEP)
            if not got:
                raise TransientStoreError("the connection was closed in the middle of an answer")
            self._held += got
        text = bytes(self._held[:found])
        del self._held[: found + len(mark)]
        return text


def _timed_by_the_system(plain: socket.socket) -> socket.socket:
    """Leaves the timeout to the kernel: Python's own asks before each call whether the socket is ready, which doubles
    the calls, and returns every few KiB of a body, each time to wait for its turn among the threads."""
    patience = struct.pack("ll", int(STALL_S), int(STALL_S % 1 * 1e6))
    plain.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        plain.setsockopt(socket.SOL_SOCKET, option, patience)
    return plain


def _length(text: str, base: int) -> int:
    try:
        found = int(text, base)
    except ValueError:
        found = -1
    if found < 0:
        raise TransientStoreError(f"{text[:40]!r} is not the length of a body")
    return found


def _broken(peer: str, error: OSError) -> TransientStoreError:
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return TransientStoreError(f"{peer} was silent for {STALL_S:.0f} s")
    return TransientStoreError(f"{peer}: {error or type(error).__name__}")


def _close_all(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.close()


class Response:
    """An answer. Its connection is kept for the next request once the body was read to its end. `size` is that of the
    body, None where it was not told; a body that does not `ends_itself` may be cut short without a sign."""

    def __init__(self, wire: Wire, connection: _Connection, method: str) -> None:
        self._wire = wire
        self._connection: _Connection | None = connection
        self.status = 100
        while 100 <= self.status < 200:
            first, *lines = connection.read_head().decode("latin-1").split("\r\n")
            version, _, rest = first.partition(" ")
            if version not in {"HTTP/1.1", "HTTP/1.0"} or not rest[:3].isdigit():
                raise TransientStoreError(f"{wire.authority} does not speak HTTP")
            self.status = int(rest[:3])
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self._keep = version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self._left: int | None = None  # unknown: until the peer closes
        if method == "HEAD" or self.status in {204, 304}:
            self._left, self._chunked = 0, False
        elif self._chunked:
            self._left = 0
        elif "content-length" in self.headers:
            self._left = _length(self.headers["content-length"], 10)
        self.size = None if self._chunked else self._left
        self.ends_itself = self._chunked or self._left is not None
        if self._left == 0 and not self._chunked:
            self._finish()

    def readinto(self, buffer: memoryview, /) -> int:
        """Fills the front of `buffer`; 0 at the end. Raises TransientStoreError for a stall or a body cut short."""
        if self._connection is None or not len(buffer):
            return 0
        try:
            if self._chunked and not self._left and not self._next_chunk(self._connection):
                return 0
            limit = len(buffer) if self._left is None else min(len(buffer), self._left)
            got = self._connection.readinto(buffer[:limit])
            if self._left is None:
                self._keep = False
                if not got:
                    self._finish()
                return got
            if not got:
                raise TransientStoreError(f"the body ended {self._left} bytes early")
            self._left -= got
            if self._chunked and not self._left:
                self._connection.read_line()
            elif not self._left:
                self._finish()
        except OSError as error:
            self.close()
            raise _broken(self._wire.authority, error) from error
        except BaseException:
            self.close()
            raise
        return got

    def read(self, limit: int = 1024 * 1024) -> bytes:
        """The rest of a small body; what lies beyond `limit` is dropped with its connection."""
        known = not self._chunked and self._left is not None
        data = bytearray(min(limit, self._left or 0) if known else limit)
        at = 0
        with memoryview(data) as view, self:
            while got := self.readinto(view[at:]):
                at += got
        return bytes(data[:at])

    def close(self) -> None:
        """Drops the connection of an answer that was not read to its end."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _next_chunk(self, connection: _Connection) -> bool:
        self._left = _length(connection.read_line().decode("latin-1").partition(";")[0], 16)
        if self._left:
            return True
        while connection.read_line():  # trailers
            pass
        self._chunked = False
        self._finish()
        return False

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection and self._keep:
            self._wire.give_back(connection)
        elif connection:
            connection.close()
