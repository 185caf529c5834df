"""What type checkers accept where a spec is built: the fields as people write them, before they are read.

At run time the models of `orchestrator.domain.spec` decide; nothing here is loaded then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Required, TypeAlias, TypedDict

if TYPE_CHECKING:
    from orchestrator.domain.pods import Runtime
    from orchestrator.domain.quantities import Gpu
    from orchestrator.domain.spec import (
        Checkpoints,
        Cloud,
        Outputs,
        Placement,
        Resources,
        Retry,
        RetryOn,
        SourceFile,
        Spot,
    )

CloudName: TypeAlias = Literal["aws", "gcp", "azure", "local"]


class ResourcesFields(TypedDict, total=False):
    """`nu.Resources(gpu="T4:1", memory="8Gi")`."""

    gpu: Gpu | str | None
    cpu: float
    memory: str | int | None
    nodes: int


class PlacementFields(TypedDict, total=False):
    """`nu.Placement(clouds=["aws"], spot="prefer")`."""

    clouds: Sequence[Cloud | CloudName]
    standby: Cloud | CloudName | None
    pool: str | None
    spot: Spot | Literal["never", "prefer", "only"]
    max_cost_usd: float | None


class RetryFields(TypedDict, total=False):
    """`nu.Retry(max=2, on=["infra"])`."""

    max: int
    on: Sequence[RetryOn | Literal["error", "infra", "preempted"]]


class CheckpointsFields(TypedDict, total=False):
    """`{"keep": 3}`."""

    keep: int


class OutputsFields(TypedDict, total=False):
    """`nu.Outputs(model="digits")`."""

    model: str | None


class JobFields(TypedDict, total=False):
    """What every kind of job takes. `max_cost_usd` stands for the one of its placement."""

    name: Required[str]
    labels: Mapping[str, str]
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    image: str | None
    runtime: Runtime | Literal["pod", "process"] | None
    resources: Resources | ResourcesFields
    placement: Placement | PlacementFields
    retry: Retry | RetryFields
    checkpoints: Checkpoints | CheckpointsFields
    timeout: str | float
    outputs: Outputs | OutputsFields
    max_cost_usd: float | None


class TrainFields(JobFields, total=False):
    """`nu.Train(name=…, workload=…)`."""

    workload: Required[str]
    dataset: str | None


class CommandFields(JobFields, total=False):
    """`nu.Command(name=…, command=[…])`. A command is no text: it would be one word."""

    command: list[str] | tuple[str, ...] | None
    entrypoint: str | None
    files: Sequence[SourceFile]
