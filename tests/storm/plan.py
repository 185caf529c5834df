"""Which fault strikes when: decided by the seed before anything starts, and by nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can go wrong."""

    KILL_WORKER = "kill -9 a worker"
    STOP_WORKER = "stop a worker beyond its lease"
    PAUSE_WORKER = "stop a worker for a moment"
    KILL_ZYGOTE = "kill -9 a worker's zygote"
    STOP_ZYGOTE = "stop a worker's zygote"
    KILL_CHILD = "kill -9 a job's process"
    STOP_CHILD = "stop a job's process"
    DRAIN_WORKER = "SIGTERM to a worker"
    RETIRE_WORKER = "drain a worker"
    KILL_SCHEDULER = "kill -9 a scheduler"
    KILL_SCHEDULERS = "kill -9 all schedulers"
    STOP_SCHEDULER = "stop a scheduler"
    KILL_API = "kill -9 the API"
    STOP_API = "stop the API"
    KILL_POSTGRES = "kill -9 Postgres"
    KILL_BACKEND = "kill -9 a session of Postgres"
    KILL_REDIS = "kill -9 Redis"
    STOP_REDIS = "stop Redis"
    FLUSH_REDIS = "FLUSHALL"
    RING_OFTEN = "ring every doorbell 50 times"


_WEIGHTS = {
    Kind.KILL_WORKER: 5,
    Kind.STOP_WORKER: 4,
    Kind.PAUSE_WORKER: 2,
    Kind.KILL_ZYGOTE: 2,
    Kind.STOP_ZYGOTE: 2,
    Kind.KILL_CHILD: 6,
    Kind.STOP_CHILD: 2,
    Kind.DRAIN_WORKER: 1,
    Kind.RETIRE_WORKER: 1,
    Kind.KILL_SCHEDULER: 3,
    Kind.KILL_SCHEDULERS: 1,
    Kind.STOP_SCHEDULER: 2,
    Kind.KILL_API: 2,
    Kind.STOP_API: 1,
    Kind.KILL_POSTGRES: 1,
    Kind.KILL_BACKEND: 1,
    Kind.KILL_REDIS: 2,
    Kind.STOP_REDIS: 1,
    Kind.FLUSH_REDIS: 3,
    Kind.RING_OFTEN: 2,
}

# What a stop lasts, in leases: a short one is slept off, a long one costs the lease.
_LEASES = {Kind.STOP_WORKER: (1.2, 2.0)}
_SHORT = (0.1, 0.6)
_EVERY = 0.6  # seconds between faults, on average


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: when it strikes (seconds from the start), whom (a number to choose with), and for how many leases."""

    at: float
    kind: Kind
    victim: int
    leases: float


def plan(seed: int, seconds: float) -> list[Fault]:
    """The faults of a storm, in order. The first kinds come in turn, so that a short storm has many of them."""
    choose = random.Random(f"faults {seed}")
    each = list(Kind)
    choose.shuffle(each)
    faults: list[Fault] = []
    at = 1.0
    while at < seconds:
        kind = each.pop() if each else choose.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        leases = choose.uniform(*_LEASES.get(kind, _SHORT))
        faults.append(Fault(at, kind, choose.randrange(1 << 16), leases))
        at += choose.expovariate(1 / _EVERY)
    return faults
