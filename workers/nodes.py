"""Which node of a job this pod is, and what its program finds in its environment for it: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.protocol import LONGEST_MESSAGE, MAX_LINE, Append, AppendBatch, LogLine, Report

MASTER_PORT = 29400
_NAMES_ITS_RANK = re.compile(r"(\x1b\[[0-9;]*m)*\[rank\d+\]")


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
        return report.model_copy(update={"message": f"Node {self.index}: {report.message}"[:LONGEST_MESSAGE]})

    def signed_lines(self, batch: AppendBatch) -> tuple[Append, ...]:
        """What this node may say of what it has produced. Of several, each marks its lines, unless they name a rank
        themselves; numbers and progress are the first one's."""
        if self.count == 1:
            return batch.appends
        said = []
        for append in batch.appends:
            change: dict[str, object] = {"node": self.index, "lines": tuple(map(self._marked, append.lines))}
            if not self.leads:
                change |= {"metrics": (), "progress": None, "message": None}
            said.append(append.model_copy(update=change))
        return tuple(one for one in said if self.leads or one.lines)

    def _marked(self, line: LogLine) -> LogLine:
        if _NAMES_ITS_RANK.match(line.text):
            return line
        return line.model_copy(update={"text": f"[node{self.index}] {line.text}"[: MAX_LINE + 64]})


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
