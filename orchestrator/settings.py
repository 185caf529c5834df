"""Settings of the control plane, from the environment; docs/reference/settings.md lists them and all others. Every one
has a default that is right in production."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import HEARTBEAT_SECONDS, LEASE_SECONDS

_SHORTEST_SILENCE = 10.0
_MOST_PORTS = 65536


@dataclass(frozen=True, slots=True)
class Settings:
    """What the control plane is told from outside.

    `lease_seconds` is how long a lease lives without a heartbeat: shorter finds dead workers sooner, and takes a slow
    network for a death sooner too. `stale_seconds` is how long the old copy of a model that was moved away stays for
    those who still read it; whoever comes later goes on with another copy. `sweep_hours` is how often stores are
    searched for uploads that nothing refers to, and how long ago the attempt that made them must have ended.
    `verify_days` is how old the last check of a model's copy may become before it is checked again.
    `checkpoint_days` is how long the checkpoints of a job stay after its end.
    """

    lease_seconds: float = LEASE_SECONDS
    stale_seconds: float = 300.0
    sweep_hours: float = 24.0
    verify_days: float = 30.0
    checkpoint_days: float = 30.0

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """The settings of this process. Raises NeutrinoError naming the variable that is wrong."""
        return cls(
            lease_seconds=number(env, "NEUTRINO_LEASE_SECONDS", LEASE_SECONDS, 0.5, 3600, "seconds"),
            stale_seconds=number(env, "NEUTRINO_STALE_SECONDS", 300, 0, 86400, "seconds"),
            sweep_hours=number(env, "NEUTRINO_SWEEP_HOURS", 24, 0, 8760, "hours"),
            verify_days=number(env, "NEUTRINO_VERIFY_DAYS", 30, 0, 3650, "days"),
            checkpoint_days=number(env, "NEUTRINO_CHECKPOINT_DAYS", 30, 0, 3650, "days"),
        )

    @property
    def heartbeat_seconds(self) -> float:
        """How often workers renew: six times per lease, so that five lost calls in a row do no harm."""
        return HEARTBEAT_SECONDS * self.lease_seconds / LEASE_SECONDS

    @property
    def silence_seconds(self) -> float:
        """After so long without a word, a worker counts as offline and a part of the control plane as silent: three
        heartbeats, and twice what parts leave between two words, however short leases are."""
        return max(3 * self.heartbeat_seconds, _SHORTEST_SILENCE)


@functools.cache
def current() -> Settings:
    """The settings of this process, read once. Services ask for them when they start, so that what is wrong is said
    then. Raises NeutrinoError."""
    return Settings.from_env()


def number(
    env: Mapping[str, str], name: str, default: float, least: float, most: float, unit: str = "a number"
) -> float:
    """A number from the environment. Raises NeutrinoError naming the variable when it is none, or out of bounds."""
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise NeutrinoError(f"{name} is {text!r}.", hint=f"Set it to {unit} between {least:g} and {most:g}.")
    return value


def bind(name: str, default: str = "") -> tuple[str, int] | None:
    """Where to listen, from the environment: host and port; None when nothing is said. Without a host, as in `:8470`,
    it is every interface of the machine, and the host is empty. Raises NeutrinoError."""
    text = os.environ.get(name) or default
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    if not (colon and port.isdecimal() and int(port) < _MOST_PORTS):
        raise NeutrinoError(f"{name} is {text!r}.", hint="Set it to host:port, such as 127.0.0.1:8470.")
    return host.strip("[]"), int(port)
