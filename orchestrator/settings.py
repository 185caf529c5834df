"""Settings of the control plane, from the environment. Every one has a default that is right in production."""

from __future__ import annotations

import os

from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import HEARTBEAT_SECONDS, LEASE_SECONDS

_SHORTEST_SILENCE = 10.0


def lease_seconds() -> float:
    """How long a lease lives without a heartbeat (NEUTRINO_LEASE_SECONDS). Shorter finds dead workers sooner, and takes
    a slow network for a death sooner too."""
    return _number("NEUTRINO_LEASE_SECONDS", LEASE_SECONDS, 0.5, 3600.0, "seconds")


def heartbeat_seconds() -> float:
    """How often workers renew: six times per lease, so that five lost calls in a row do no harm."""
    return HEARTBEAT_SECONDS * lease_seconds() / LEASE_SECONDS


def silence_seconds() -> float:
    """After so long without a word, a worker counts as offline and a part of the control plane as silent: three
    heartbeats, and twice what parts leave between two words, however short leases are."""
    return max(3 * heartbeat_seconds(), _SHORTEST_SILENCE)


def stale_seconds() -> float:
    """How long the old copy of a model that was moved away stays for those who still read it (NEUTRINO_STALE_SECONDS).
    Whoever comes later goes on with another copy."""
    return _number("NEUTRINO_STALE_SECONDS", 300.0, 0.0, 86400.0, "seconds")


def sweep_hours() -> float:
    """How often stores are searched for uploads that nothing refers to, and how long ago the attempt that made them
    must have ended (NEUTRINO_SWEEP_HOURS)."""
    return _number("NEUTRINO_SWEEP_HOURS", 24.0, 0.0, 8760.0, "hours")


def verify_days() -> float:
    """How old the last check of a model's copy may become before it is checked again (NEUTRINO_VERIFY_DAYS)."""
    return _number("NEUTRINO_VERIFY_DAYS", 30.0, 0.0, 3650.0, "days")


def _number(name: str, default: float, least: float, most: float, unit: str) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise NeutrinoError(f"{name} is {text!r}.", hint=f"Set it to {unit} between {least:g} and {most:g}.")
    return value
