"""Neutrino: one control plane for AI jobs on every cloud.

    import orchestrator as nu

    job = nu.Client().jobs.submit(nu.Train(name="digits", workload="image-classifier", dataset="builtin://digits"))
    job.wait(progress=True)

Names are loaded when they are first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.domain.errors import AuthenticationError as AuthenticationError
    from orchestrator.domain.errors import CapacityError as CapacityError
    from orchestrator.domain.errors import Conflict as Conflict
    from orchestrator.domain.errors import CorruptArtifact as CorruptArtifact
    from orchestrator.domain.errors import FieldError as FieldError
    from orchestrator.domain.errors import InvalidSpec as InvalidSpec
    from orchestrator.domain.errors import JobCancelled as JobCancelled
    from orchestrator.domain.errors import JobFailed as JobFailed
    from orchestrator.domain.errors import LeaseLost as LeaseLost
    from orchestrator.domain.errors import NeutrinoError as NeutrinoError
    from orchestrator.domain.errors import NoPlace as NoPlace
    from orchestrator.domain.errors import NotFound as NotFound
    from orchestrator.domain.errors import PermissionDenied as PermissionDenied
    from orchestrator.domain.errors import QuotaExceeded as QuotaExceeded
    from orchestrator.domain.errors import RateLimited as RateLimited
    from orchestrator.domain.errors import ServerError as ServerError
    from orchestrator.domain.errors import ServerUnavailable as ServerUnavailable
    from orchestrator.domain.errors import TooLarge as TooLarge
    from orchestrator.domain.errors import WaitTimeout as WaitTimeout
    from orchestrator.domain.run import Interrupted as Interrupted
    from orchestrator.domain.spec import Checkpoints as Checkpoints
    from orchestrator.domain.spec import Command as Command
    from orchestrator.domain.spec import Outputs as Outputs
    from orchestrator.domain.spec import Placement as Placement
    from orchestrator.domain.spec import Resources as Resources
    from orchestrator.domain.spec import Retry as Retry
    from orchestrator.domain.spec import Train as Train
    from orchestrator.domain.state import JobState as JobState
    from orchestrator.sdk import stores as stores
    from orchestrator.sdk.client import AsyncClient as AsyncClient
    from orchestrator.sdk.client import Client as Client
    from orchestrator.sdk.function import job as job
    from orchestrator.sdk.jobs import JobHandle as JobHandle
    from orchestrator.sdk.models import ModelVersion as ModelVersion
    from orchestrator.sdk.run import run as run
    from orchestrator.sdk.samples import sample as sample

_HOMES = {
    "orchestrator.domain.errors": (
        "AuthenticationError CapacityError Conflict CorruptArtifact FieldError InvalidSpec "
        "JobCancelled JobFailed LeaseLost NeutrinoError NoPlace NotFound PermissionDenied QuotaExceeded "
        "RateLimited ServerError ServerUnavailable TooLarge WaitTimeout"
    ),
    "orchestrator.domain.run": "Interrupted",
    "orchestrator.domain.spec": "Checkpoints Command Outputs Placement Resources Retry Train",
    "orchestrator.domain.state": "JobState",
    "orchestrator.sdk": "stores",
    "orchestrator.sdk.client": "AsyncClient Client",
    "orchestrator.sdk.function": "job",
    "orchestrator.sdk.jobs": "JobHandle",
    "orchestrator.sdk.models": "ModelVersion",
    "orchestrator.sdk.run": "run",
    "orchestrator.sdk.samples": "sample",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOME_OF[name])
    value = getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
