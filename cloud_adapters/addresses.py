"""Addresses of stores: how a URI is read, and which endpoints are never contacted."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from cloud_adapters.base import check_key
from cloud_adapters.errors import InvalidStore, TransientStoreError

FILE_ROOTS_VARIABLE = "NEUTRINO_FILE_ROOTS"
CREDENTIAL_HOSTS_VARIABLE = "NEUTRINO_CREDENTIAL_HOSTS"
# Without configured roots these stay closed all the same: no store belongs into the system's own folders.
SYSTEM_FOLDERS = tuple(
    Path(text)
    for text in ("/etc", "/proc", "/sys", "/dev", "/boot", "/bin", "/sbin", "/lib", "/lib64", "/usr", "/run/secrets")
)
METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
# Metadata services outside the link-local range: Azure's wire server, Alibaba, Oracle, AWS and Google over IPv6.
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
# IPv6 addresses whose last four bytes are an IPv4 address: mapped, translated, compatible, and NAT64.
IPV4_INSIDE = tuple(
    ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96")
)


@dataclass(frozen=True, slots=True)
class StoreUri:
    """`scheme://bucket/prefix?option=value`, taken apart; for files `prefix` is the absolute path."""

    text: str
    scheme: str
    bucket: str
    prefix: str
    options: dict[str, str]
    file_roots: tuple[Path, ...] | None = None

    def only(self, *allowed: str) -> dict[str, str]:
        """The options, or InvalidStore when one of them is not `allowed`."""
        if unknown := sorted(set(self.options) - set(allowed)):
            raise InvalidStore(
                f"{self.text!r}: {self.scheme}:// addresses know no option {unknown[0]!r}",
                hint=f"Options: {', '.join(allowed) or 'none'}.",
            )
        return self.options


def parse_store_uri(text: str, *, file_roots: tuple[Path, ...] | None = None) -> StoreUri:
    """Reads the address of a store; raises InvalidStore with what to write instead."""
    hint = "Write file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix."
    try:
        split = urlsplit(text)
        options = dict(parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query)))
    except ValueError as error:
        raise InvalidStore(f"{text!r} is not a URI: {error}", hint=hint) from error
    if not split.scheme or "//" not in text or split.fragment:
        raise InvalidStore(f"{text!r} is not the address of a store", hint=hint)
    path = unquote(split.path)
    if split.scheme == "file":
        if split.netloc or not path.startswith("/") or "\0" in path:
            raise InvalidStore(f"{text!r} does not name an absolute folder", hint="Write file:///folder.")
        return StoreUri(text, "file", "", path, options, file_roots)
    if not split.netloc or "@" in split.netloc or ":" in split.netloc:
        raise InvalidStore(f"{text!r} does not name a bucket", hint=f"{hint} Credentials do not belong in it.")
    prefix = path.strip("/")
    if prefix:
        check_key(prefix)
    return StoreUri(text, split.scheme, split.netloc, prefix, options)


def allowed_folder(path: str, roots: tuple[Path, ...] | None) -> Path:
    """The resolved folder, when a store may lie there; otherwise InvalidStore.

    With `roots`, or NEUTRINO_FILE_ROOTS in the environment, it must lie in one of them. With neither, only the system's
    own folders are closed; whoever opens stores on behalf of others sets the roots.
    """
    if roots is None and (configured := os.environ.get(FILE_ROOTS_VARIABLE)):
        roots = tuple(Path(root) for root in configured.split(os.pathsep) if root)
    folder = Path(path)
    if ".." in folder.parts:
        raise InvalidStore(f"file://{path} climbs out of its folder")
    resolved = folder.resolve()
    closed = resolved == Path("/") or any(resolved.is_relative_to(one) for one in SYSTEM_FOLDERS)
    if closed if roots is None else not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise InvalidStore(
            f"file://{path} is not below a folder that stores may use",
            hint=f"Set {FILE_ROOTS_VARIABLE} to the folders that may hold stores.",
        )
    if resolved.exists() and not resolved.is_dir():
        raise InvalidStore(f"file://{path} is not a folder")
    return resolved


def check_trusted(url: str, domains: tuple[str, ...]) -> None:
    """Raises InvalidStore for a host that may not be told credentials: neither below one of the provider's own
    `domains`, by TLS, nor named by NEUTRINO_CREDENTIAL_HOSTS. An address that somebody else wrote would be enough,
    otherwise, to send them anywhere."""
    split = urlsplit(url)
    host = (split.hostname or "").lower()
    listed = {one.strip().lower() for one in os.environ.get(CREDENTIAL_HOSTS_VARIABLE, "").split(",")}
    if host not in listed and not (split.scheme == "https" and host.endswith(domains)):
        raise InvalidStore(
            f"{host!r} is not one of the provider's own hosts, and gets no credentials.",
            hint=f"If you trust it with them, set {CREDENTIAL_HOSTS_VARIABLE}={host}.",
        )


def is_loopback(url: str) -> bool:
    """Whether a server on this machine is meant."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_address(address: str) -> None:
    """Raises InvalidStore for link-local, metadata, unspecified and multicast addresses (SSRF targets)."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    for one in (ip, *_inside(ip)):
        if one.is_link_local or one.is_unspecified or one.is_multicast or one in METADATA_ADDRESSES:
            raise InvalidStore(f"{address} is a link-local or metadata address, which no store may use")


def _inside(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that a gateway would make of an IPv6 address."""
    if isinstance(ip, ipaddress.IPv6Address) and not ip.is_loopback:
        if any(ip in network for network in IPV4_INSIDE):
            yield ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.sixtofour:
            yield ip.sixtofour


def check_endpoint(url: str) -> str:
    """An `http(s)://host[:port]` endpoint that may be contacted, without its trailing slash.

    Loopback and private addresses are allowed, because on-premises stores live there. Raises InvalidStore for
    anything else that is not a public host, and TransientStoreError when the name cannot be resolved.
    """
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError as error:
        raise InvalidStore(f"endpoint {url!r} is not a URL: {error}") from error
    if split.scheme not in {"http", "https"} or not host or split.username or split.query or split.fragment:
        raise InvalidStore(f"endpoint {url!r} is not an http(s) address", hint="Write https://host:port.")
    if host.rstrip(".").lower() in METADATA_HOSTS:
        raise InvalidStore(f"endpoint {url!r} is a metadata service, which no store may use")
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TransientStoreError(f"endpoint {url!r} cannot be resolved: {error}") from error
    for *_, address in found:
        check_address(str(address[0]))
    return url.rstrip("/")
