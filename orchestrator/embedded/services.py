"""Neutrino's own processes as data: which module each runs, and what of the environment it may see.

A worker runs other people's code, so it gets no database; the API needs no broker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from orchestrator.embedded import once
from orchestrator.embedded.process import Child, at_once

_PROBE_S = 2.0


@dataclass(frozen=True, slots=True)
class Service:
    """A module to run with `python -m`, the variables it needs, and the seconds it may take to end its work."""

    module: str
    needs: tuple[str, ...]
    grace_s: float = 10.0


MIGRATIONS = Service("migrations", ("DATABASE_URL",))
BOOTSTRAP = Service(
    "orchestrator.bootstrap",
    ("DATABASE_URL", "NEUTRINO_STORE", "NEUTRINO_POOLS", "NEUTRINO_ADMIN_TOKEN", "NEUTRINO_WORKER_TOKEN"),
)
API = Service("orchestrator.api", ("DATABASE_URL", "NEUTRINO_BIND", "NEUTRINO_FILE_ROOTS"))
SCHEDULER = Service("orchestrator.scheduler", ("DATABASE_URL", "REDIS_URL", "NEUTRINO_FILE_ROOTS"))
WORKER = Service(
    "workers",
    (
        "REDIS_URL",
        "NEUTRINO_API_URL",
        "NEUTRINO_TOKEN",
        "NEUTRINO_POOL",
        "NEUTRINO_SLOTS",
        "NEUTRINO_DATA_DIR",
        "NEUTRINO_FILE_ROOTS",
        "NEUTRINO_WORKER_NAME",
    ),
    grace_s=30.0,
)

_MANAGED = {name for service in (MIGRATIONS, BOOTSTRAP, API, SCHEDULER, WORKER) for name in service.needs}


def command(service: Service, *arguments: str) -> list[str]:
    """The command line; `-P` keeps modules in the current folder from taking the place of ours."""
    return [sys.executable, "-P", "-m", service.module, *arguments]


def environment(service: Service, values: Mapping[str, str]) -> dict[str, str]:
    """Our own environment, so that credentials of clouds and settings reach the service, with its share of `values`."""
    inherited = {name: value for name, value in os.environ.items() if name not in _MANAGED}
    return inherited | {name: values[name] for name in service.needs if name in values}


def child(
    service: Service, name: str, values: Mapping[str, str], cwd: Path, ready: Callable[[], bool] = at_once
) -> Child:
    """The service as a process to keep running."""
    return Child(
        name=name,
        argv=command(service),
        env=environment(service, values),
        cwd=cwd,
        grace_s=service.grace_s,
        ready=ready,
    )


def run(service: Service, name: str, values: Mapping[str, str], cwd: Path, *arguments: str) -> str:
    """Run a service that ends by itself; returns its output. Raises ServiceFailed when it fails."""
    return once.run(name, command(service, *arguments), env=environment(service, values), cwd=cwd)


def answers(url: str) -> bool:
    """Whether the API serves and reaches its database."""
    return _status(f"{url}/readyz") == 200


def accepts(url: str, token: str) -> bool:
    """Whether the API knows the token."""
    return _status(f"{url}/v1/whoami", token) != 401


def has_worker(url: str, token: str, name: str) -> bool:
    """Whether a worker of that name is registered and alive."""
    response = _get(f"{url}/v1/workers", token)
    if response is None or response.status_code != 200:
        return False
    return any(worker["name"] == name and worker["online"] for worker in response.json()["items"])


def _status(url: str, token: str | None = None) -> int | None:
    response = _get(url, token)
    return None if response is None else response.status_code


def _get(url: str, token: str | None) -> httpx.Response | None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        # Without the environment: a proxy is not the way to this machine.
        return httpx.get(url, headers=headers, timeout=_PROBE_S, trust_env=False)
    except httpx.TransportError:
        return None
