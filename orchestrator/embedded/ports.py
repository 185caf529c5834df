"""Choosing ports on this machine."""

from __future__ import annotations

import errno
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


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now. The answer may be stale a moment later."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
        return True


def choose(remembered: Path, wanted: int | None = None, *, host: str = "127.0.0.1", usual: Sequence[int] = ()) -> int:
    """A free port: the same as last time if that is possible, else a usual one. It is kept in the file `remembered`.

    Raises:
        PortBusy: `wanted` is taken, or no free port was found.
    """
    if wanted is not None:
        if not is_free(wanted, host):
            raise PortBusy(f"Port {wanted} on {host} is in use.", hint="Choose another, or none to get a free one.")
        return wanted
    last = folder.read(remembered)
    known = [int(last)] if last and last.isdecimal() else []
    candidates = itertools.chain(known, usual, random.sample(_CHOICE, _ATTEMPTS))
    port = next((port for port in candidates if is_free(port, host)), None)
    if port is None:
        raise PortBusy(f"No free port was found on {host} between {_CHOICE.start} and {_CHOICE.stop}.")
    folder.write(remembered, f"{port}\n")
    return port
