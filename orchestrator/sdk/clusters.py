"""Clusters on which pools of pods live."""

from __future__ import annotations

from orchestrator.domain.pods import ClusterView, CreateCluster
from orchestrator.sdk.binding import Bound, D, Operation, Streaming
from orchestrator.sdk.steps import Call, Steps, Stream
from orchestrator.sdk.transport import exchange, get, pages, path, post


class Clusters(Bound[D]):
    """References to Kubernetes clusters. They hold no credentials: the launcher has an identity."""

    @Streaming
    def list(self) -> Stream[ClusterView]:
        """All clusters."""
        yield from pages("/v1/clusters", ClusterView)

    @Operation
    def get(self, name: str) -> Steps[ClusterView]:
        """One cluster, with what its launcher found when it last looked. Raises NotFound."""
        return (yield from get(path("clusters", name), ClusterView))

    @Operation
    def add(self, cluster: CreateCluster) -> Steps[ClusterView]:
        """Write down where a cluster is. Raises Conflict when its name is taken."""
        return (yield from post("/v1/clusters", ClusterView, cluster.model_dump(mode="json", exclude_none=True)))

    @Operation
    def check(self, name: str) -> Steps[ClusterView]:
        """Ask a launcher to look at what it may do there; `get` has the findings once `checked_at` is later than
        `asked_at`. Raises Conflict when no launcher is online."""
        return (yield from post(f"{path('clusters', name)}/check", ClusterView))

    @Operation
    def drain(self, name: str) -> Steps[ClusterView]:
        """Start nothing new there; what runs takes a checkpoint and goes on elsewhere."""
        return (yield from post(f"{path('clusters', name)}/drain", ClusterView))

    @Operation
    def resume(self, name: str) -> Steps[ClusterView]:
        """Undo a drain."""
        return (yield from post(f"{path('clusters', name)}/resume", ClusterView))

    @Operation
    def remove(self, name: str) -> Steps[None]:
        """Forget a cluster; its pools keep their history. Raises Conflict while jobs run there."""
        yield from exchange(Call("DELETE", path("clusters", name)))
