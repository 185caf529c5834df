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
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from orchestrator.domain.errors import NeutrinoError

NETWORKS = "NEUTRINO_NOTIFY_NETWORKS"
_TIMEOUT_SECONDS = 10.0
_LONGEST_ANSWER = 2000  # characters that are kept of an answer that says no

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(NeutrinoError):
    """The address is none that may be contacted, or the other side says that this will never be right."""


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


class _Guard(httpcore.SyncBackend):
    """Connects to public addresses only."""

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks

    def connect_tcp(self, host: str, port: int, *rest: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        addresses = [str(address[0]) for *_, address in found]
        for address in addresses:
            if not _may_reach(address, self._networks):
                raise Refused(
                    f"{host} is {address}, which is not a public address.",
                    hint=f"An operator may allow its network in {NETWORKS}.",
                )
        return super().connect_tcp(addresses[0], port, *rest, **options)

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise Refused("no URL leads to a socket of this machine")


class Outbound:
    """Sends documents. Safe to use from several threads."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        self._pool = httpcore.ConnectionPool(ssl_context=context, network_backend=_Guard(allowed_networks()))
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
