"""Requests to addresses that users have given, without giving them the network that we are in.

The name is resolved here, every address it has must be a public one, and the connection goes to the address that was
looked at: a name that changes its mind in between leads nowhere else. Redirects are not followed. Networks that are to
be reached all the same are listed in NEUTRINO_NOTIFY_NETWORKS (`10.1.0.0/16,192.168.7.5/32`).
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from orchestrator.domain.errors import NeutrinoError

NETWORKS = "NEUTRINO_NOTIFY_NETWORKS"
_TIMEOUT_SECONDS = 10.0
_IN_ALL_SECONDS = 30.0
_LONGEST_ANSWER = 2000  # characters that are kept of an answer that says no

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(NeutrinoError):
    """The address is none that may be contacted, or the other side says that this will never be right."""

    code = "not_sent"


def allowed_networks() -> tuple[Network, ...]:
    """What NEUTRINO_NOTIFY_NETWORKS allows beside the public internet. Raises NeutrinoError when it cannot be read."""
    given = os.environ.get(NETWORKS, "")
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in given.split(",") if part.strip())
    except ValueError as error:
        raise NeutrinoError(f"{NETWORKS}: {error}.", hint="Write networks as 10.1.0.0/16, with commas.") from error


def _may_reach(address: str, networks: Iterable[Network]) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    public = ip.is_global and not ip.is_multicast
    return public or any(ip.version == network.version and ip in network for network in networks)


class _Hurried(httpcore.NetworkStream):
    """A connection that lives until its deadline, however slowly the other side goes on sending."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def _left(self, timeout: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(f"it took longer than {_IN_ALL_SECONDS:g} s in all")
        return left if timeout is None else min(left, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Hurried(self._stream.start_tls(ssl_context, server_hostname, self._left(timeout)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Guard(httpcore.SyncBackend):
    """Connects to public addresses only."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        addresses = [str(address[0]) for *_, address in found]
        if not all(_may_reach(address, self._networks) for address in addresses):
            # Without the address: what names mean in our network is not for everybody to know.
            hint = f"Whoever runs the schedulers may allow its network in {NETWORKS}."
            raise Refused(f"{host} is not a public address.", hint=hint)
        return _Hurried(super().connect_tcp(addresses[0], port, *rest, **options), time.monotonic() + _IN_ALL_SECONDS)

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise Refused("no URL leads to a socket of this machine")


class Outbound:
    """Sends documents. Safe to use from several threads."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        guard = _Guard(allowed_networks())
        # A connection for each message: a deadline is one of a connection.
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=guard, max_keepalive_connections=0)
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT_SECONDS)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """POST JSON. Raises NeutrinoError when it did not arrive, Refused when trying again cannot help."""
        sent = [("Content-Type", "application/json"), ("User-Agent", "neutrino"), *headers.items()]
        try:
            with self._pool.stream(
                "POST", url, headers=sent, content=body, extensions={"timeout": self._timeout}
            ) as answer:
                status = answer.status
                said = next(answer.iter_stream(), b"")[:_LONGEST_ANSWER].decode(errors="replace")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise NeutrinoError(f"It could not be sent. {type(error).__name__}: {error}") from error
        if 200 <= status < 300:
            return
        text = f"The answer was {status}. {said}".strip()
        if status in {408, 425, 429} or status >= 500:
            raise NeutrinoError(text)
        raise Refused(text)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
