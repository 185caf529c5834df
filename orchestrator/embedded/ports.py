"""Choosing ports on this machine."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from orchestrator.embedded import folder
from orchestrator.embedded.errors import PortBusy

# Below the ports that Linux hands to outgoing connections (32768 and up by default), so that a port kept for the next
# start is not taken by a passing connection in the meantime.
_CHOICE = range(20_000, 32_000)
_ATTEMPTS = 200

_claimed: set[int] = set()


def _fault(port: int, host: str) -> str | None:
    """Why no server could listen on the port now, or None when one could. A moment later it may be otherwise."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def _claim(port: int) -> bool:
    """Keep a port from other processes that choose one, for as long as this process lives: until a server listens on
    it, nothing else would. By an abstract name (unix(7)), which is seen where the port is."""
    if port not in _claimed:
        with socket.socket(socket.AF_UNIX) as name:
            try:
                name.bind(f"\0neutrino-port-{port}")
            except OSError:
                return False
            name.detach()  # open until the process ends
        _claimed.add(port)
    return True


def choose(remembered: Path, wanted: int | None = None, *, host: str = "127.0.0.1", usual: Sequence[int] = ()) -> int:
    """A free port: the same as last time if that is possible, else a usual one. It is kept in the file `remembered`.

    Raises:
        PortBusy: `wanted` is taken, or no free port was found.
    """
    if wanted is not None:
        if fault := _fault(wanted, host):
            raise PortBusy(
                f"Port {wanted} on {host} cannot be used: {fault}.", hint="Choose another, or none to get a free one."
            )
        return wanted
    last = folder.read(remembered)
    known = [int(last)] if last and last.isdecimal() else []
    candidates = itertools.chain(known, usual, random.sample(_CHOICE, _ATTEMPTS))
    port = next((port for port in candidates if not _fault(port, host) and _claim(port)), None)
    if port is None:
        fault = _fault(_CHOICE.start, host) or "many were tried"
        raise PortBusy(f"No free port was found on {host}: {fault}.", hint="Choose another address or port.")
    folder.write(remembered, f"{port}\n")
    return port
