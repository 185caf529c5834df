"""The states of jobs and attempts, the moves between them, and the reasons: data, in one place.

The picture is in docs/job-lifecycle.md. The migrations copy TRANSITIONS into the table `job_transitions`, where a
trigger refuses every other move; a test keeps the two equal. Only `orchestrator.store.transitions` performs moves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """Where a job is. Few states; the reason beside it tells the rest."""

    QUEUED = "QUEUED"
    DISPATCHED = "DISPATCHED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        """True when nothing but a person's `retry` can move the job again."""
        return self in TERMINAL


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


class AttemptState(StrEnum):
    """How one execution is doing, or how it ended."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PREEMPTED = "PREEMPTED"
    LOST = "LOST"


class Transition(NamedTuple):
    """A move that is allowed, and who makes it when."""

    source: JobState
    target: JobState
    when: str


_S = JobState
TRANSITIONS: tuple[Transition, ...] = (
    Transition(_S.QUEUED, _S.DISPATCHED, "the dispatcher has chosen a pool"),
    Transition(_S.QUEUED, _S.CANCELLED, "a person cancels; nothing was running"),
    Transition(_S.DISPATCHED, _S.RUNNING, "a worker claims it; the epoch rises"),
    Transition(_S.DISPATCHED, _S.QUEUED, "the reconciler: its pool has no worker, or another a free slot"),
    Transition(_S.DISPATCHED, _S.CANCELLED, "a person cancels; nothing was running"),
    Transition(_S.RUNNING, _S.SUCCEEDED, "the worker reports success within its lease"),
    Transition(_S.RUNNING, _S.FAILED, "the attempt failed and no retry is left"),
    Transition(_S.RUNNING, _S.QUEUED, "the attempt failed, was preempted or lost, and a retry is left"),
    Transition(_S.RUNNING, _S.CANCELLING, "a person cancels; the worker is told"),
    Transition(_S.CANCELLING, _S.CANCELLED, "the worker reports that all is gone, or its lease ends"),
    Transition(_S.FAILED, _S.QUEUED, "a person retries"),
    Transition(_S.CANCELLED, _S.QUEUED, "a person retries"),
)


class ReplicaState(StrEnum):
    """How a copy of an artifact is doing. Readers follow verified ones only."""

    COPYING = "copying"
    VERIFIED = "verified"
    STALE = "stale"
    LOST = "lost"


class Reason(StrEnum):
    """Why a job is where it is, for programs. The sentence for people stands beside it in `message`."""

    SUBMITTED = "submitted"
    RETRIED_BY_USER = "retried_by_user"
    PLACED = "placed"
    POOL_GONE = "pool_gone"
    REBALANCED = "rebalanced"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED_BY_USER = "cancelled_by_user"
    USER_ERROR = "user_error"
    TIMEOUT = "timeout"
    COST_EXCEEDED = "cost_exceeded"
    OOM = "oom"
    KILLED = "killed"
    PREEMPTED = "preempted"
    MIGRATING = "migrating"
    CHECKPOINT_REQUESTED = "checkpoint_requested"
    RESUMED_ELSEWHERE = "resumed_elsewhere"
    NO_CAPACITY = "no_capacity"
    QUOTA_EXCEEDED = "quota_exceeded"
    LEASE_LOST = "lease_lost"
    WORKER_LOST = "worker_lost"
    CLAIM_LOST = "claim_lost"
    INFRA_ERROR = "infra_error"
    STAGING_FAILED = "staging_failed"
    UPLOAD_FAILED = "upload_failed"
    INVALID_OUTPUT = "invalid_output"
    DAMAGED = "damaged"
    STORE_REFUSED = "store_refused"
    POD_STARTING = "pod_starting"
    UNSCHEDULABLE = "unschedulable"
    IMAGE_UNAVAILABLE = "image_unavailable"
    POD_REFUSED = "pod_refused"
    QUARANTINED = "quarantined"
