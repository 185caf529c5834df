"""Settings of the control plane, from the environment. Every one has a default that is right in production."""

from __future__ import annotations

import os

from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import HEARTBEAT_SECONDS, LEASE_SECONDS


def lease_seconds() -> float:
    """How long a lease lives without a heartbeat (NEUTRINO_LEASE_SECONDS). Shorter finds dead workers sooner, and takes
    a slow network for a death sooner too."""
    return _seconds("NEUTRINO_LEASE_SECONDS", LEASE_SECONDS)


def heartbeat_seconds() -> float:
    """How often workers renew: six times per lease, so that five lost calls in a row do no harm."""
    return HEARTBEAT_SECONDS * lease_seconds() / LEASE_SECONDS


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = -1.0
    if not 0.5 <= value <= 3600:
        raise NeutrinoError(f"{name} is {text!r}.", hint="Set it to seconds between 0.5 and 3600.")
    return value
