"""What workers and the API say to each other. Workers hold no database credentials: this is all they can do.

Every effect names its attempt (`j-7f3k1.2`: job and epoch) and is accepted only while that attempt's lease is live by
the database's clock. Calls carry many attempts at once, so that a busy worker costs few requests.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from orchestrator.domain.artifact import SafePath, Sha256
from orchestrator.domain.ids import decode_attempt
from orchestrator.domain.inputs import MAX_INPUTS
from orchestrator.domain.model import Line, Model
from orchestrator.domain.pods import ClusterRef, PodSettings
from orchestrator.domain.retry import FAILURE_OF
from orchestrator.domain.spec import Name
from orchestrator.domain.state import Reason
from orchestrator.domain.transfer import Order, Place

LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
SURRENDER_AFTER_SECONDS = 25.0  # without an answer for so long, a worker kills its children: before the lease can end
MAX_BATCH = 1000
MAX_NODES = 1024
MAX_LINE = 16 * 1024
LONGEST_MESSAGE = 4096
"""So many characters has what is said of an attempt; who says it cuts it."""

_Attempt = Annotated[str, StringConstraints(max_length=32), AfterValidator(lambda text: str(decode_attempt(text)))]
# Postgres keeps no NUL. What a job says must not be lost for one, so it is made visible; names are refused.
_Sentence = Annotated[
    str,
    StringConstraints(max_length=LONGEST_MESSAGE),
    AfterValidator(lambda text: text.replace("\x00", "\N{REPLACEMENT CHARACTER}")),
]
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Int = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class RegisterWorker(Model):
    """A worker process introduces itself. A worker of the same name and pool that was there before is gone for certain:
    the caller holds the lock that its predecessor and all of its children held."""

    name: Annotated[Line, StringConstraints(min_length=1, max_length=128)]
    pool: Name
    slots: int = Field(ge=1, le=1024)
    host: Annotated[Line, StringConstraints(max_length=256)]
    pid: _Int
    version: Annotated[Line, StringConstraints(max_length=64)]
    gpus: tuple[Line, ...] = Field(default=(), max_length=64)
    outlived: bool = False
    """Its attempts live in pods, which go on while the launcher is away: nothing that it held is given back."""


class PodPool(Model):
    """What a launcher needs to know of its pool. `digest` is another one as soon as anything of that is."""

    cluster_name: str
    cluster: ClusterRef
    settings: PodSettings
    cloud: str
    gpu: str | None
    digest: str = ""


class WorkerRegistered(Model):
    """The worker's id, the Celery queues on which its doorbells ring, and the store where its artifacts go; `pods` when
    its pool is one of pods."""

    worker: str
    queues: tuple[str, ...]
    store: str
    lease_seconds: float
    heartbeat_seconds: float
    pods: PodPool | None = None


class CheckpointRef(Model):
    """A committed checkpoint: where it lies, and the digest of its manifest."""

    step: int
    store: str
    prefix: str
    digest: Sha256


class Input(Model):
    """An artifact that an attempt reads: `sources` are its verified copies, the nearest first."""

    name: str
    ref: str
    digest: Sha256
    size: int
    sources: tuple[Place, ...]


class Lease(Model):
    """The timed right to run one attempt. `token` is good for this attempt only; `prefix` is where its artifacts go.

    `resume` is the newest checkpoint in its nearest store, `fallbacks` where else one may be had: other copies of it,
    then older ones."""

    attempt: str
    token: str
    document: dict[str, Any]
    timeout_seconds: float
    prefix: str
    resume: CheckpointRef | None = None
    fallbacks: tuple[CheckpointRef, ...] = ()
    inputs: tuple[Input, ...] = ()
    order: Order | None = None
    """For Neutrino's own kinds of jobs: what there is to do. None when there is nothing left to do it with."""
    traceparent: str | None = None
    """The trace that the job belongs to, as the header of that name has it."""


class ClaimRequest(Model):
    """Ask for work: up to `slots` attempts of the worker's pool."""

    worker: str
    slots: int = Field(ge=1, le=MAX_BATCH)


class Claimed(Model):
    """The attempts that the worker now holds; they are RUNNING."""

    leases: tuple[Lease, ...]


class PodWait(Model):
    """What a launcher says about an attempt whose pods do not run yet, or run: a sentence for people, which the job
    shows until something else is said."""

    attempt: _Attempt
    reason: Reason
    message: Annotated[_Sentence, StringConstraints(max_length=2048)]


class Heartbeat(Model):
    """One call renews all leases of a worker. A lease that a pod has taken over is the pod's own to renew; naming it
    here only asks whether it still lives."""

    worker: str
    attempts: tuple[_Attempt, ...] = Field(default=(), max_length=MAX_BATCH)
    draining: bool = False
    launcher: bool = False
    waits: tuple[PodWait, ...] = Field(default=(), max_length=MAX_BATCH)
    trouble: Annotated[_Sentence, StringConstraints(max_length=2048)] | None = None
    """Why this launcher claims nothing just now, for the jobs that wait for it."""


class HeartbeatReply(Model):
    """`lost`: stop them at once, nothing more is accepted from them. `cancel`: stop them gently and report; `dear` are
    those among them that nobody cancelled: they have cost what they may.
    `checkpoint`: let them take a checkpoint now. `move`: let them take one and give them back, to go on elsewhere.
    `orphans`: the database says this worker holds them, but it did not name them. `waiting`: how many attempts of its
    pool wait to be claimed."""

    lost: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    dear: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()
    move: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    waiting: int = 0
    drain: bool = False
    check: bool = False
    """Somebody wants to know what this launcher may do on its cluster: look, and tell."""
    pool: str | None = None
    """To a launcher: the digest of its pool as it is now. Empty when it is none of pods any more."""


class NodeBeat(Model):
    """A pod renews the lease of its attempt, whose token it holds. Node 0 speaks for the attempt; the others only ask,
    so that a lease never outlives its leader. `done`: this node's program has ended well."""

    node: int = Field(ge=0, le=1023)
    done: bool = False


class NodeReply(HeartbeatReply):
    """What a worker would be told of the attempt; and `done`, how many of the other nodes have ended well."""

    done: int = 0


class PodLease(Model):
    """What a pod needs to run its attempt: the lease, the launcher that holds it, and where its artifacts go."""

    lease: Lease
    worker: str
    store: str
    lease_seconds: float
    heartbeat_seconds: float


class LogLine(Model):
    """One line as it was written, without its end, cut at MAX_LINE characters; `at` in seconds since the epoch."""

    at: float
    stream: Literal["stdout", "stderr", "system"]
    text: Annotated[str, StringConstraints(max_length=MAX_LINE + 64)]


class MetricPoint(Model):
    """One number; None stands for NaN or infinity."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$")]
    step: int = Field(ge=0, lt=2**53)
    value: float | None
    at: float


class Append(Model):
    """What one attempt has produced since the last call. `seq` numbers the attempt's batches from 1: the same batch
    sent twice is stored once. `lines` come in order and are numbered on from `first_line`.

    `node` is set by each of several nodes that write at once: then `seq` numbers the batches of that node, and the
    lines of all are numbered as they arrive."""

    attempt: _Attempt
    seq: int = Field(ge=1, lt=2**53)
    node: int | None = Field(default=None, ge=0, lt=MAX_NODES)
    first_line: int = Field(default=1, ge=1, lt=2**53)
    lines: tuple[LogLine, ...] = Field(default=(), max_length=10_000)
    metrics: tuple[MetricPoint, ...] = Field(default=(), max_length=10_000)
    progress: float | None = Field(default=None, ge=0, le=1)
    message: Annotated[_Sentence, StringConstraints(max_length=512)] | None = None


class AppendBatch(Model):
    """What a worker's attempts have produced."""

    appends: tuple[Append, ...] = Field(min_length=1, max_length=MAX_BATCH)


class Appended(Model):
    """Attempts from which nothing more is accepted."""

    lost: tuple[str, ...] = ()


class ArtifactUpload(Model):
    """Files that lie in a store, below a prefix, with their manifest written: `digest` is the manifest's SHA-256."""

    store: Annotated[Line, StringConstraints(max_length=1024)]
    prefix: SafePath
    digest: Sha256
    size: _Count
    files: int = Field(ge=0, lt=2**31)


class PublishCheckpoint(Model):
    """Make an uploaded artifact the attempt's newest checkpoint."""

    attempt: _Attempt
    step: _Count
    artifact: ArtifactUpload


class CheckpointCommitted(Model):
    """The artifact's id, and the prefixes of older checkpoints that may now be deleted from the store."""

    artifact: str
    superseded: tuple[str, ...] = ()


class Skipped(Model):
    """A checkpoint that could not be had, from where, and why."""

    step: _Count
    store: Annotated[Line, StringConstraints(max_length=1024)]
    why: Annotated[_Sentence, StringConstraints(max_length=1024)]


class Resumed(Model):
    """From what an attempt really goes on when what its lease offered first could not be had."""

    attempt: _Attempt
    step: _Count
    store: Annotated[Line, StringConstraints(max_length=1024)]
    skipped: tuple[Skipped, ...] = Field(min_length=1, max_length=64)


class StagedInput(Model):
    """From where an attempt took an input, and in which stores it was damaged."""

    name: Annotated[Line, StringConstraints(max_length=64)]
    store: Annotated[Line, StringConstraints(max_length=1024)]
    damaged: tuple[Annotated[Line, StringConstraints(max_length=1024)], ...] = Field(default=(), max_length=64)


class StagedInputs(Model):
    """An attempt has its inputs, and reads no copy of them any more."""

    attempt: _Attempt
    inputs: tuple[StagedInput, ...] = Field(max_length=MAX_INPUTS)


def _how_it_ended(reason: Reason) -> Reason:
    if reason is not Reason.SUCCEEDED and reason not in FAILURE_OF:
        raise ValueError(f"no attempt ends with {reason.value!r}")
    return reason


class Report(Model):
    """How an attempt ended. `reason` is `succeeded`, `cancelled_by_user`, or what went wrong. `damaged` are stores from
    which a transfer could not have its artifact intact."""

    attempt: _Attempt
    reason: Annotated[Reason, AfterValidator(_how_it_ended)]
    message: _Sentence = ""
    exit_code: _Int | None = None
    output: ArtifactUpload | None = None
    damaged: tuple[Annotated[Line, StringConstraints(max_length=1024)], ...] = Field(default=(), max_length=64)


class ReportBatch(Model):
    """Ends of attempts; with `slots`, the worker claims that many new ones in the same call."""

    worker: str
    reports: tuple[Report, ...] = Field(default=(), max_length=MAX_BATCH)
    slots: int = Field(default=0, ge=0, le=MAX_BATCH)


class Reported(Model):
    """Attempts whose report came too late, and the newly claimed ones."""

    lost: tuple[str, ...] = ()
    leases: tuple[Lease, ...] = ()


class Health(Model):
    """The answer of the health routes."""

    status: str
    now: datetime
