"""Settings of a worker, from the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.protocol import MAX_BATCH
from orchestrator.settings import number

_LONGEST_NAME = 128
API_URL_HINT = "Set it to the address of the API, such as http://127.0.0.1:8470."
TOKEN_HINT = "Set it to a worker's token: `neutrino token create NAME --user NAME --role worker`."  # noqa: S105


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told from outside. Times are in seconds.

    `grace` is what a cancelled or timed-out program gets between SIGTERM and SIGKILL; `drain` is what it gets to save
    itself when the worker is to go; `most_processes` is how many a single attempt may have at once.
    """

    api_url: str
    token: str = field(repr=False)
    redis_url: str = field(repr=False)
    pool: str
    name: str
    slots: int
    data_dir: Path
    grace: float = 10.0
    drain: float = 25.0
    most_processes: int = 512

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """The settings of this process. Raises NeutrinoError naming the variable that is missing or wrong."""
        pool = env.get("NEUTRINO_POOL") or "local"
        name = env.get("NEUTRINO_WORKER_NAME") or f"{socket.gethostname()}-{pool}"
        return cls(
            api_url=required(env, "NEUTRINO_API_URL", API_URL_HINT),
            token=required(env, "NEUTRINO_TOKEN", TOKEN_HINT),
            redis_url=required(env, "REDIS_URL", "Set it to redis://:password@host:6379/0."),
            pool=pool,
            name=name[:_LONGEST_NAME],
            slots=int(number(env, "NEUTRINO_SLOTS", max(2, os.cpu_count() or 2), 1, MAX_BATCH)),
            data_dir=Path(required(env, "NEUTRINO_DATA_DIR", "Set it to a folder for scratch files.")).absolute(),
            grace=number(env, "NEUTRINO_GRACE_SECONDS", 10.0, 0, 3600),
            drain=number(env, "NEUTRINO_DRAIN_SECONDS", 25.0, 0, 86400),
            most_processes=int(number(env, "NEUTRINO_MAX_PROCESSES", 512, 8, 1_000_000)),
        )


def required(env: Mapping[str, str], name: str, hint: str) -> str:
    """A text from the environment. Raises NeutrinoError with the hint when it is not set."""
    value = env.get(name)
    if not value:
        raise NeutrinoError(f"{name} is not set.", hint=hint)
    return value
