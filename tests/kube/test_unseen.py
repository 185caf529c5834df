"""Jobs that a launcher has made and does not see yet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.api import KubeApi, Query
from cloud_adapters.cluster.compute import KubernetesCompute
from cloud_adapters.cluster.manifests import PodTarget
from cloud_adapters.compute import Work
from cloud_adapters.compute_testing import until
from orchestrator.domain.pods import Checked, ClusterKind, ClusterRef, PodSettings
from orchestrator.domain.protocol import PodPool, PodWait, WorkerRegistered
from tests.kube.cluster import NAMESPACE, Cluster
from workers.clearing import Ground
from workers.flight import Flight, Launching
from workers.places import Site, open_place, settings_from
from workers.tasks import Tasks

SPOT = PodTarget(NAMESPACE, "unseen", PodSettings(), "registry.example.com/worker:1")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.behaviour.creates = False
    try:
        yield cluster
    finally:
        cluster.close()


def api_of(cluster: Cluster) -> KubeApi:
    return open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(cluster.kubeconfig())))[0]


def work(**fields: Any) -> Work:
    return Work(**{"name": "j-1-1", "command": ("true",), "env": {}, "token": "t", "labels": {}} | fields)


class Slow(KubeApi):
    """Something happens between its list of Jobs and its list of pods."""

    meanwhile: Callable[[], None] | None = None

    def items(self, path: str, query: Query | None = None) -> tuple[list[dict[str, Any]], str]:
        if path.endswith("/pods") and self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None
        return super().items(path, query)


def test_a_job_that_is_made_during_a_list_stays_known(cluster: Cluster) -> None:
    api = Slow(api_of(cluster)._client)
    compute, stop = KubernetesCompute(api, SPOT), threading.Event()
    api.meanwhile = lambda: compute.launch(work())
    thread = threading.Thread(target=compute.watch, args=(lambda _name: None, stop), daemon=True)
    thread.start()
    assert compute.synced.wait(30)
    assert {name: status.doomed for name, status in compute.inventory().items()} == {"j-1-1": False}
    stop.set()


def test_a_job_that_nobody_sees_is_cleared_as_well(cluster: Cluster) -> None:
    api = api_of(cluster)
    KubernetesCompute(api, SPOT).launch(work())
    place = Site(KubernetesCompute(api, SPOT), Launching({}, 1.0, 1.0), lambda: Checked(worker="w-1", checks=()))

    async def clear() -> None:
        cleared = asyncio.Event()
        ground = Ground(lambda: place, asyncio.to_thread, lambda _flight: cleared.set(), Tasks())
        ground.clear(Flight("j-1.1"))
        await asyncio.wait_for(cleared.wait(), 30)

    asyncio.run(clear())
    until(lambda: cluster.objects.all("jobs") == [])


def test_an_attempt_waits_for_the_pods_of_the_one_before_and_says_where_they_are(cluster: Cluster) -> None:
    cluster.behaviour.creates, cluster.behaviour.runs = True, False
    compute, stop = KubernetesCompute(api_of(cluster), SPOT), threading.Event()
    thread = threading.Thread(target=compute.watch, args=(lambda _name: None, stop), daemon=True)
    thread.start()
    compute.launch(work())
    until(lambda: (status := compute.status("j-1-1")) is not None and status.pieces and status.pieces[0].place)
    flight, said = Flight("j-1.2"), list[PodWait | None]()

    async def launch() -> None:
        await Launching({}, 1.0, 1.0).launch(
            flight, work(name="j-1-2"), compute, asyncio.to_thread, lambda: said.append(flight.wait)
        )

    asyncio.run(launch())
    assert said[0] is not None
    assert said[0].message == "Waiting until the pods of j-1-1 (node-1) are gone."
    status = compute.status("j-1-1")
    assert status is None or status.gone
    stop.set()


def test_a_check_that_fails_in_a_way_that_nobody_thought_of_is_answered(cluster: Cluster) -> None:
    cluster.node("odd", cpu="many")
    kube = ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(cluster.kubeconfig()))
    pool = PodPool(cluster_name="kube", cluster=kube, settings=PodSettings(image="worker:1"), cloud="local", gpu=None)
    registered = WorkerRegistered(
        worker="w-1", queues=(), store="file:///srv", lease_seconds=30, heartbeat_seconds=5, pods=pool
    )
    env = {"NEUTRINO_API_URL": "http://127.0.0.1:1", "NEUTRINO_TOKEN": "t", "REDIS_URL": "redis://127.0.0.1:1"}
    found = open_place(registered, settings_from(env), env).check()
    assert found.worker == "w-1"
    assert [(check.name, check.ok) for check in found.checks] == [("check", False)]
    assert "many" in found.checks[0].detail
