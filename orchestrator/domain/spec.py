"""What a user asks for. SDK objects, the decorator and YAML all build these models; nothing else describes a job.

In Python the fields are flat (`Train(name="digits", workload=…)`); as a document they are nested the way Kubernetes
users expect (`metadata.name`, `spec.workload`): see `orchestrator.domain.document`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from orchestrator.domain.artifact import SafePath, Sha256
from orchestrator.domain.errors import FieldError
from orchestrator.domain.faults import beyond, field_errors
from orchestrator.domain.inputs import MAX_INPUTS, InputAddress, InputName
from orchestrator.domain.model import Model
from orchestrator.domain.pods import Image, Runtime, SecretKey
from orchestrator.domain.quantities import Duration, GpuRequest, Memory
from orchestrator.domain.workloads import check_workload

API_VERSION = "neutrino/v1"

if TYPE_CHECKING:
    from typing import Unpack

    from orchestrator.domain.written import (
        CheckpointsFields,
        CommandFields,
        JobFields,
        OutputsFields,
        PlacementFields,
        ResourcesFields,
        RetryFields,
        TrainFields,
    )

MAX_FILES = 1000
MAX_FILE_BYTES = 16 * 1024**2
_RESERVED_ENV = re.compile(
    r"^(NEUTRINO_.*|LD_PRELOAD|LD_AUDIT|MASTER_ADDR|MASTER_PORT|RANK|NODE_RANK|LOCAL_RANK|WORLD_SIZE|PET_.*)$"
)
_DAY = 86400.0
METADATA = ("name", "labels")
_FIRST = ("workload", "dataset", "command", "entrypoint")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{0,128}$")]
Entrypoint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", max_length=256)]


def _allowed_env(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise ValueError("not a name of an environment variable")
    if _RESERVED_ENV.match(name):
        raise ValueError("reserved: Neutrino sets it itself")
    return name


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("contains a NUL character, which no process can be given")
    return text


EnvName = Annotated[str, AfterValidator(_allowed_env)]
ProcessText = Annotated[str, StringConstraints(max_length=128 * 1024), AfterValidator(_no_nul)]


class SpecFaults(ValueError):
    """Several faults that one validator found; `orchestrator.domain.faults` spreads them out again."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


class Cloud(StrEnum):
    """The providers that placement may choose from."""

    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"
    LOCAL = "local"


class Spot(StrEnum):
    """Whether capacity that can be taken back at short notice is acceptable."""

    NEVER = "never"
    PREFER = "prefer"
    ONLY = "only"


class RetryOn(StrEnum):
    """Which kinds of failure are tried again."""

    ERROR = "error"
    INFRA = "infra"
    PREEMPTED = "preempted"


class Resources(Model):
    """What each node of a job needs."""

    _stands_at: ClassVar[str] = "spec.resources"

    gpu: GpuRequest | None = None
    cpu: float = Field(default=1.0, gt=0, le=1024)
    memory: Memory | None = Field(default=None, ge=16 * 1024**2, le=64 * 1024**4)
    nodes: int = Field(default=1, ge=1, le=1024)

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[ResourcesFields]) -> None: ...


class Placement(Model):
    """Where a job may run. An empty `clouds` means anywhere. To `standby`, every checkpoint is copied ahead."""

    _stands_at: ClassVar[str] = "spec.placement"

    clouds: tuple[Cloud, ...] = ()
    standby: Cloud | None = None
    pool: Name | None = None
    spot: Spot = Spot.NEVER
    max_cost_usd: float | None = Field(default=None, gt=0)

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[PlacementFields]) -> None: ...


class Retry(Model):
    """`max` pays for the job's own errors and timeouts; infrastructure and preemption have budgets of their own
    (`orchestrator.domain.retry`). A kind of failure that `on` leaves out is never retried."""

    _stands_at: ClassVar[str] = "spec.retry"

    max: int = Field(default=0, ge=0, le=100)
    on: tuple[RetryOn, ...] = (RetryOn.ERROR, RetryOn.INFRA, RetryOn.PREEMPTED)

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[RetryFields]) -> None: ...


class Checkpoints(Model):
    """What becomes of the checkpoints that a job publishes: the newest `keep` of them stay."""

    keep: int = Field(default=2, ge=1, le=100)

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[CheckpointsFields]) -> None: ...


class Outputs(Model):
    """What becomes of the files a job leaves behind. With `model` they are registered as the next version of it."""

    _stands_at: ClassVar[str] = "spec.outputs"

    model: Name | None = None

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[OutputsFields]) -> None: ...


class SourceFile(Model):
    """A file that the user named, uploaded beforehand and found by its hash; `size` in bytes."""

    path: SafePath
    sha256: Sha256
    size: int = Field(ge=0, le=MAX_FILE_BYTES)
    executable: bool = False


class JobSpec(Model):
    """What every kind of job has."""

    kind: ClassVar[str]
    own: ClassVar[bool] = False  # whether it is work of Neutrino's own, which waits for no backlog

    name: Name
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=32)
    params: dict[str, JsonValue] = Field(default_factory=dict, max_length=256)
    inputs: dict[InputName, InputAddress] = Field(
        default_factory=dict, max_length=MAX_INPUTS, description="what the job reads, by name: model://digits@3"
    )
    env: dict[EnvName, ProcessText] = Field(default_factory=dict, max_length=256)
    secrets: dict[EnvName, SecretKey] = Field(
        default_factory=dict, max_length=64, description="environment variables from Kubernetes Secrets: name/key"
    )
    image: Image | None = None
    runtime: Runtime | None = Field(default=None, description="pod or process; by default whatever its pool has")
    resources: Resources = Resources()
    placement: Placement = Placement()
    retry: Retry = Retry()
    checkpoints: Checkpoints = Checkpoints()
    timeout: Duration = Field(default=_DAY, gt=0, le=30 * _DAY)
    outputs: Outputs = Outputs()

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[JobFields]) -> None: ...

    @classmethod
    def document_path(cls, path: str) -> str:
        head = path.split(".", 1)[0].split("[", 1)[0]
        return f"metadata.{path}" if head in METADATA else f"spec.{path}" if path else "spec"

    @classmethod
    def misfits(cls, given: Mapping[str, Any]) -> list[FieldError]:  # noqa: ARG003 - for the kinds that have any
        """What is wrong with fields together. Called whatever is wrong with single ones, so that all is told at once;
        `given` may hold anything."""
        return []

    @model_validator(mode="wrap")
    @classmethod
    def _tell_every_fault(cls, data: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            made, faults = read(data), list[FieldError]()
        except ValidationError as error:
            made, faults = None, field_errors(error.errors(include_url=False), cls, cls.document_path)
        if isinstance(data, Mapping):
            faults += beyond(cls.misfits(data), faults)
        if made is None or faults:
            raise SpecFaults(faults)
        return made

    @model_validator(mode="before")
    @classmethod
    def _accept_shorthands(cls, data: Any) -> Any:
        """In Python, `max_cost_usd=2` stands for `placement=Placement(max_cost_usd=2)`."""
        if not isinstance(data, dict) or "max_cost_usd" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "max_cost_usd"}
        placement = rest.get("placement", Placement())
        known = placement.model_dump() if isinstance(placement, Placement) else placement
        if not isinstance(known, dict):
            return rest  # the placement itself is wrong, and is refused as what it is
        return rest | {"placement": known | {"maxCostUsd": data["max_cost_usd"]}}

    @property
    def needs_pods(self) -> bool:
        """Whether this can only run as pods of its own."""
        return bool(self.image or self.secrets or self.resources.nodes > 1 or self.runtime is Runtime.POD)

    @model_validator(mode="after")
    def _runtime_fits(self) -> JobSpec:
        if self.runtime is Runtime.PROCESS and self.needs_pods:
            raise ValueError("an image, secrets and several nodes need pods; leave out runtime: process")
        if both := sorted(self.env.keys() & self.secrets.keys()):
            raise ValueError(f"{', '.join(both)} cannot be both in env and in secrets")
        return self

    def document(self) -> dict[str, Any]:
        """The JSON document of this spec, without what equals the default; what the job runs comes first."""
        body = self.model_dump(mode="json", exclude_defaults=True)
        body = {key: body[key] for key in _FIRST if key in body} | body
        metadata = {key: body.pop(key) for key in METADATA if key in body}
        return {"apiVersion": API_VERSION, "kind": self.kind, "metadata": metadata, "spec": body}

    def spec(self) -> str:
        """The same as YAML, ready for `neutrino apply -f`."""
        from orchestrator.domain.yaml import dump  # noqa: PLC0415 - it builds on this module, and few print

        return dump(self.document())

    def digest(self) -> str:
        """The SHA-256 of the canonical document: equal requests have equal hashes."""
        canonical = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


class Train(JobSpec):
    """Train a model with one of the workloads that come with Neutrino."""

    kind: ClassVar[Literal["Train"]] = "Train"

    workload: str = Field(max_length=64)
    dataset: str | None = Field(default=None, max_length=2048)

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[TrainFields]) -> None: ...

    @classmethod
    def misfits(cls, given: Mapping[str, Any]) -> list[FieldError]:
        workload, params, dataset = given.get("workload"), given.get("params", {}), given.get("dataset")
        if not isinstance(workload, str) or not isinstance(params, Mapping) or not isinstance(dataset, str | None):
            return []
        return check_workload(workload, params, dataset)


class Command(JobSpec):
    """Run the user's own program: an argv, or a Python function named `module:function`."""

    kind: ClassVar[Literal["Command"]] = "Command"

    command: tuple[ProcessText, ...] | None = Field(default=None, min_length=1, max_length=4096)
    entrypoint: Entrypoint | None = None
    files: tuple[SourceFile, ...] = Field(default=(), max_length=MAX_FILES)

    if TYPE_CHECKING:

        def __init__(self, **given: Unpack[CommandFields]) -> None: ...

    @classmethod
    def misfits(cls, given: Mapping[str, Any]) -> list[FieldError]:
        if (given.get("command") is None) != (given.get("entrypoint") is None):
            return []
        hint = "Write `command: [program, argument]` or `entrypoint: package.module:function`."
        return [FieldError("spec", "give either command or entrypoint, one of them", hint)]

    @field_validator("command")
    @classmethod
    def _names_a_program(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command is not None and not command[0].strip():
            raise ValueError("the first word, the program, is empty")
        return command

    @field_validator("files")
    @classmethod
    def _distinct_paths(cls, files: tuple[SourceFile, ...]) -> tuple[SourceFile, ...]:
        paths = [file.path for file in files]
        if len(paths) != len(set(paths)):
            raise ValueError("two files have the same path")
        return files


KINDS: dict[str, type[JobSpec]] = {spec.kind: spec for spec in (Train, Command)}
