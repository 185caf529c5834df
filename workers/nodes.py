"""Which node of a job this pod is, and what its program finds in its environment for it: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.protocol import Report

MASTER_PORT = 29400
_LONGEST_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Nodes:
    """`index` of `count` nodes, run by the pod of this uid; `environment` is what `torchrun` and `torch.distributed`
    read, and the secrets."""

    index: int = 0
    count: int = 1
    pod: str = "none"
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def leads(self) -> bool:
        """The first node speaks for the attempt."""
        return self.index == 0

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Nodes:
        """What the launcher and Kubernetes have written into the pod."""
        index, count = int(env.get("JOB_COMPLETION_INDEX", "0")), int(env.get("NEUTRINO_NODES", "1"))
        given = {name: env[name] for name in env.get("NEUTRINO_SECRETS", "").split(",") if name in env}
        if count > 1:
            given |= rendezvous(index, count, env["NEUTRINO_MASTER"], env.get("NEUTRINO_GPUS") or "1")
        return cls(index, count, env["NEUTRINO_POD_UID"], given)

    def signed(self, report: Report) -> Report:
        """The report, saying which of several nodes it comes from."""
        if self.count == 1:
            return report
        return report.model_copy(update={"message": f"Node {self.index}: {report.message}"[:_LONGEST_MESSAGE]})


def rendezvous(index: int, count: int, master: str, per_node: str) -> dict[str, str]:
    """One process per node finds its rank here; `torchrun` reads the variables that begin with PET_ in place of its
    options, so that a bare `torchrun train.py` runs on all nodes.

    Source: https://docs.pytorch.org/docs/stable/elastic/run.html
    """
    return {
        "MASTER_ADDR": master,
        "MASTER_PORT": str(MASTER_PORT),
        "RANK": str(index),
        "NODE_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": "0",
        "PET_NNODES": str(count),
        "PET_NODE_RANK": str(index),
        "PET_NPROC_PER_NODE": per_node,
        "PET_MASTER_ADDR": master,
        "PET_MASTER_PORT": str(MASTER_PORT),
    }
