"""Pools whose jobs run as pods on a Kubernetes cluster: how the cluster is reached, and what its pods look like.

Everything is a typed field. There is no raw patch of a pod, so that none can be privileged, mount the host or be root.
No credential is kept here: a cluster is a reference that the launcher follows with the identity it runs under.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from orchestrator.domain.model import Line, Model
from orchestrator.domain.quantities import Duration, Memory

_IMAGE = re.compile(
    r"^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,250}[a-zA-Z0-9])?(?::\d{1,5})?/)?"  # registry
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"  # path
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$",
    re.ASCII,
)
_LONGEST_IMAGE = 512


def _image(text: str) -> str:
    if len(text) > _LONGEST_IMAGE or not _IMAGE.match(text):
        raise ValueError("not the name of an image; write registry.example.com/team/image:tag")
    return text


Image = Annotated[str, AfterValidator(_image)]
KubernetesName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
NodeLabel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,315}$")]
NodeValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
STORE_FOLDER = "/var/lib/neutrino/store"
"""Where a store that is a volume is mounted, in every pod that uses it."""

SecretKey = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9._-]{1,253}$", max_length=507)
]
"""`name/key` of a Kubernetes Secret in the namespace of the pods."""


class Runtime(StrEnum):
    """What an attempt runs in: a process of a worker, or pods of its own."""

    PROCESS = "process"
    POD = "pod"


class ClusterKind(StrEnum):
    """How a cluster is found, and whose identity opens it."""

    EKS = "eks"
    GKE = "gke"
    AKS = "aks"
    KUBECONFIG = "kubeconfig"
    INCLUSTER = "incluster"


_NEEDED: dict[ClusterKind, tuple[str, ...]] = {
    ClusterKind.EKS: ("cluster", "region"),
    ClusterKind.GKE: ("cluster", "region", "project"),
    ClusterKind.AKS: ("cluster", "project", "resource_group"),
    ClusterKind.KUBECONFIG: (),
    ClusterKind.INCLUSTER: (),
}


class ClusterRef(Model):
    """Where a cluster is. `cluster` is its name at the provider, `project` the project of Google or the subscription of
    Azure, `kubeconfig` a path on the launcher's machine ($KUBECONFIG without it), `namespace` where the pods go."""

    kind: ClusterKind
    cluster: Annotated[Line, StringConstraints(min_length=1, max_length=128)] | None = None
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    project: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,128}$")] | None = None
    resource_group: Annotated[str, StringConstraints(pattern=r"^[\w.()-]+$", max_length=90)] | None = None
    kubeconfig: Annotated[Line, StringConstraints(min_length=1, max_length=1024)] | None = None
    context: Annotated[Line, StringConstraints(min_length=1, max_length=256)] | None = None
    namespace: KubernetesName | None = None

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> ClusterRef:
        missing = [name for name in _NEEDED[self.kind] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a cluster of kind {self.kind} needs {' and '.join(missing)}")
        return self


class Toleration(Model):
    """A taint that the pods accept; without a value, whatever it is."""

    key: NodeLabel
    value: NodeValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class PodSettings(Model):
    """What the pods of a pool have in common. `preset` says how its cloud names GPUs and spot nodes; `shm` is the size
    of /dev/shm; `max_nodes` the largest job; `memory` what a job gets that does not say; `queue` a LocalQueue of Kueue;
    after `patience` without a node a job tries another pool (None: never); `secrets` are the Secrets that jobs may
    name, none by default: others in the namespace may belong to other people's jobs.

    `store_claim` is a PersistentVolumeClaim that is mounted at STORE_FOLDER, for a store that is a folder, and
    `store_secret` a Secret whose keys become variables: the credentials of a store. `labels` are put on every pod;
    `beside` are labels of pods whose node they have to share, as those of one volume must.
    """

    preset: Literal["generic", "eks", "gke", "aks"] = "generic"
    spot: bool = False
    image: Image | None = None
    service_account: KubernetesName | None = None
    image_pull_secrets: tuple[KubernetesName, ...] = Field(default=(), max_length=16)
    priority_class: KubernetesName | None = None
    runtime_class: KubernetesName | None = None
    queue: KubernetesName | None = None
    memory: Memory = Field(default=2 * 1024**3, ge=64 * 1024**2)
    shm: Memory = Field(default=1024**3, ge=1024**2)
    max_nodes: int = Field(default=16, ge=1, le=1024)
    patience: Duration | None = Field(default=600.0, gt=0)
    secrets: tuple[KubernetesName, ...] = Field(default=(), max_length=64)
    store_claim: KubernetesName | None = None
    store_secret: KubernetesName | None = None
    labels: dict[NodeLabel, NodeValue] = Field(default_factory=dict, max_length=32)
    beside: dict[NodeLabel, NodeValue] = Field(default_factory=dict, max_length=32)
    env: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)],
        Annotated[str, StringConstraints(max_length=4096)],
    ] = Field(default_factory=dict, max_length=64)
    node_selector: dict[NodeLabel, NodeValue] = Field(default_factory=dict, max_length=32)
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32)


class Check(Model):
    """One thing that was tried on a cluster: what came of it, and what mends it."""

    name: str
    ok: bool
    detail: str
    fix: str | None = None


class CreateCluster(ClusterRef):
    """A cluster under a name of ours."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]

    @property
    def ref(self) -> ClusterRef:
        """The reference alone."""
        return ClusterRef(**{name: getattr(self, name) for name in ClusterRef.model_fields})


class ClusterView(CreateCluster):
    """A cluster as people see it, with what its launcher found when it last looked. `asked_at` is later than
    `checked_at` while a check is under way. `heard_at` is when one of its launchers was heard of last; `trouble` says
    since when one of them hears nothing of the cluster."""

    draining: bool
    trouble: str | None = None
    heard_at: datetime | None = None
    pools: tuple[str, ...]
    launchers: int
    asked_at: datetime | None
    checked_at: datetime | None
    checks: tuple[Check, ...]
    created_at: datetime


class Checked(Model):
    """What a launcher found on the cluster of its pool."""

    worker: str
    checks: tuple[Check, ...] = Field(max_length=64)
