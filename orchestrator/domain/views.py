"""What the API answers: jobs, events, logs, metrics, models, pools and workers as people and programs see them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from orchestrator.domain.artifact import Manifest
from orchestrator.domain.inputs import InputView
from orchestrator.domain.model import Line, Model
from orchestrator.domain.pods import PodSettings
from orchestrator.domain.protocol import LogLine
from orchestrator.domain.quantities import parse_gpu
from orchestrator.domain.recovery import StandbyView
from orchestrator.domain.spec import Cloud, Name
from orchestrator.domain.state import AttemptState, JobState, ReplicaState

Item = TypeVar("Item")


class Page(Model, Generic[Item]):
    """Some items, newest first; `next` fetches the following page and is None on the last one."""

    items: tuple[Item, ...]
    next: str | None = None


class JobSummary(Model):
    """A job as a list shows it."""

    id: str
    name: str
    kind: str
    labels: dict[str, str]
    user: str
    state: JobState
    reason: str
    message: str
    epoch: int
    pool: str | None
    progress: float | None
    exit_code: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class AttemptView(Model):
    """One execution of a job."""

    id: str
    epoch: int
    state: AttemptState
    reason: str
    message: str
    worker: str | None
    pool: str | None
    exit_code: int | None
    resumed_from_step: int | None
    started_at: datetime
    finished_at: datetime | None


class JobView(JobSummary):
    """A job with everything that belongs to it. `model` is the reference (`digits@1`) of what it made.

    `moved_to` is the cloud to which a person moved it. `interruption_seconds` is how long the last move or failure took
    as the job itself saw it, from the last number that it logged to the first one after.
    """

    document: dict[str, Any]
    spec_hash: str
    workspace: str
    attempts: tuple[AttemptView, ...]
    model: str | None
    inputs: tuple[InputView, ...] = ()
    moved_to: str | None = None
    standby: StandbyView | None = None
    interruption_seconds: float | None = None


class JobAccepted(Model):
    """A submitted job is stored: it will run whatever happens now."""

    id: str
    name: str
    state: JobState


class JobBatch(Model):
    """Documents to submit together: all are accepted, or none."""

    jobs: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=1000)


class JobBatchAccepted(Model):
    """The accepted jobs, in the order of their documents."""

    jobs: tuple[JobAccepted, ...]


class EventView(Model):
    """One entry of a job's history."""

    id: int
    at: datetime
    job: str
    epoch: int
    source: JobState | None
    target: JobState
    reason: str
    message: str
    actor: str


class LogEntry(LogLine):
    """A line with its place: `id` orders all lines of a job over its attempts, and resumes a stream after it."""

    id: str
    epoch: int
    line: int


class LogPage(Model):
    """Lines in order. `next` continues after what was read for them; `complete`: the job has ended and no line will
    follow."""

    lines: tuple[LogEntry, ...]
    next: str | None
    complete: bool


class MetricSeries(Model):
    """One metric over its steps; `points` are (step, value), without what a later attempt repeated."""

    name: str
    last: float | None
    min: float | None
    max: float | None
    points: tuple[tuple[int, float | None], ...]


class Misfit(StrEnum):
    """Why a pool cannot take a job."""

    POOL = "pool"
    CLOUD = "cloud"
    RUNTIME = "runtime"
    NODES = "nodes"
    GPU = "gpu"
    SPOT = "spot"
    PRICE = "price"


class Considered(Model):
    """A place that was considered for a job, and why it was or was not taken: `misfit` is None when it fits. One of its
    slots costs `usd_per_hour` (None: no price is known). To go there, the job would have to move so many bytes (its
    checkpoint, its inputs) at this egress price."""

    pool: str
    verdict: str
    misfit: Misfit | None = None
    usd_per_hour: float | None = None
    bytes_to_move: int = 0
    egress_usd: float = 0.0


class Try(Model):
    """A place that was tried for a job, and what came of it."""

    pool: str
    at: datetime
    reason: str
    message: str


class Why(Model):
    """Why a job is where it is, in words: the sentence, what was considered, and what to do next."""

    job: str
    state: JobState
    reason: str
    message: str
    position: int | None = None
    considered: tuple[Considered, ...] = ()
    tried: tuple[Try, ...] = ()
    standby: StandbyView | None = None
    hint: str | None = None


class ReplicaView(Model):
    """A copy of an artifact in one store. Readers follow it only while it is verified.

    `bytes` is what it holds; `verified_at` when it became one, `checked_at` when every byte was last hashed, both None
    while it is being copied; `error` says what is wrong with a lost one; `job` is at work on it now.
    """

    store: str
    cloud: str
    state: ReplicaState
    bytes: int
    verified_at: datetime | None
    checked_at: datetime | None
    error: str | None = None
    job: str | None = None


class ArtifactView(Model):
    """An immutable set of files; `digest` is the SHA-256 of its manifest, `size` in bytes."""

    id: str
    kind: Literal["model", "output", "checkpoint"]
    job: str
    epoch: int
    step: int | None
    digest: str
    size: int
    files: int
    created_at: datetime
    replicas: tuple[ReplicaView, ...] = ()


class ArtifactDetail(ArtifactView):
    """An artifact with its manifest."""

    manifest: Manifest


class ModelVersionView(Model):
    """A version of a model: what it is made of, how good it is, and where it came from."""

    ref: str
    name: str
    version: int
    artifact: ArtifactView
    metrics: dict[str, float]
    lineage: dict[str, Any]
    created_at: datetime
    aliases: tuple[str, ...] = ()


class ModelView(Model):
    """A named line of versions; `latest` is the newest one."""

    name: str
    versions: int
    latest: ModelVersionView
    created_at: datetime


class PoolView(Model):
    """Workers of one shape, and how busy they are. `slots` counts live workers only."""

    name: str
    cloud: str
    region: str
    gpu: str | None
    workers: int
    slots: int
    running: int
    dispatched: int
    queue: str
    store: str
    cluster: str | None = None
    spot: bool = False
    usd_per_hour: float | None = None


class CreatePool(Model):
    """A new pool. `store` is the URI of the object store next to it, `gpu` what each slot has, such as `T4:1`. With
    `cluster` its jobs run as pods there, made as `pods` says. `spot`: its capacity can be taken back at short notice;
    for pods this and `pods.spot` mean the same."""

    name: Name
    cloud: Cloud = Cloud.LOCAL
    region: Annotated[Line, StringConstraints(max_length=64)] = "local"
    gpu: Annotated[str, AfterValidator(lambda text: str(parse_gpu(text)))] | None = None
    store: Annotated[Line, StringConstraints(min_length=1, max_length=1024)]
    cluster: Name | None = None
    pods: PodSettings | None = None
    spot: bool = False
    usd_per_hour: float | None = Field(default=None, ge=0, le=1_000_000, description="What one slot costs.")

    @model_validator(mode="after")
    def _pods_have_a_cluster(self) -> CreatePool:
        if self.pods is not None and self.cluster is None:
            raise ValueError("pods need a cluster")
        return self


class SetPrice(Model):
    """What one slot of a pool costs for an hour, now and in the past; None: nobody knows."""

    usd_per_hour: float | None = Field(ge=0, le=1_000_000)


class WorkerView(Model):
    """A worker process; it is `online` while its heartbeats come."""

    id: str
    name: str
    pool: str
    host: str
    pid: int
    slots: int
    running: int
    online: bool
    draining: bool
    version: str
    started_at: datetime
    heartbeat_at: datetime


class TokenView(Model):
    """A token without its secret."""

    id: str
    name: str
    user: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class CreateToken(Model):
    """A new token: who it is for and what it may do. `expires_in_days` None means never."""

    name: Name
    user: Annotated[Line, StringConstraints(min_length=1, max_length=128)]
    role: Literal["viewer", "submitter", "operator", "admin", "worker"]
    expires_in_days: int | None = Field(default=365, ge=1, le=3650)


class TokenCreated(TokenView):
    """The only time that the secret is shown."""

    token: str


class WhoAmI(Model):
    """Who the caller is."""

    user: str
    workspace: str
    role: str


class SignInLink(Model):
    """Where a browser goes to be signed in; good once, for a minute."""

    path: str


class ComponentView(Model):
    """A part of the control plane and when it last showed itself. A broken one was seen not to work; a silent one has
    said nothing for a while; a gone one was killed or cut off, and others of its kind go on."""

    name: str
    kind: str
    seen_at: datetime
    state: Literal["well", "broken", "silent", "gone"]
    detail: str

    @property
    def alive(self) -> bool:
        """Whether it still says how it is."""
        return self.state in {"well", "broken"}


COUNTED = 100_000
"""Counting jobs stops here; what is more is shown as "100,000+"."""


class StatusView(Model):
    """The state of the control plane: jobs by state, each counted up to COUNTED, and its parts."""

    version: str
    jobs: dict[JobState, int]
    components: tuple[ComponentView, ...]
