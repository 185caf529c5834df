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
from orchestrator.domain.state import Reason
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


def test_pods_on_a_node_that_does_not_answer_hold_nobody_up_for_ever(cluster: Cluster) -> None:
    cluster.behaviour.creates, cluster.behaviour.runs, cluster.behaviour.silent = True, False, {"node-1"}
    compute, stop = KubernetesCompute(api_of(cluster), SPOT), threading.Event()
    threading.Thread(target=compute.watch, args=(lambda _name: None, stop), daemon=True).start()
    compute.launch(work())
    until(lambda: (status := compute.status("j-1-1")) is not None and status.pieces and status.pieces[0].place)
    (pod,) = cluster.pods(job="j-1-1")
    cluster.set_status(pod["metadata"]["name"], phase="Running")
    flight, said = Flight("j-1.2"), list[str]()

    def speak() -> None:
        """Once it waits for a node that does not answer, its time is up long ago."""
        said.append(flight.wait.message if flight.wait else "")
        if "Should their nodes not answer" in said[-1]:
            cluster.objects.update(
                "pods",
                NAMESPACE,
                pod["metadata"]["name"],
                lambda thing: thing["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
            )

    async def go_on() -> None:
        await Launching({}, 1.0, 1.0).launch(flight, work(name="j-1-2"), compute, asyncio.to_thread, speak)
        assert said[0] == "Waiting until the pods of j-1-1 (node-1) are gone."
        before = compute.status("j-1-1")
        assert before is not None
        assert not before.gone
        assert [one["metadata"]["name"] for one in cluster.objects.all("jobs")] == ["j-1-1", "j-1-2"]
        place = Site(compute, Launching({}, 1.0, 1.0), lambda: Checked(worker="w-1", checks=()))
        left, cleared = Flight("j-1.1"), asyncio.Event()
        Ground(lambda: place, asyncio.to_thread, lambda _flight: cleared.set(), Tasks()).clear(left)
        await asyncio.to_thread(until, lambda: left.stranded)
        assert not cleared.is_set()
        cluster.behaviour.silent.clear()  # its kubelet is back, and does as it was told
        await asyncio.wait_for(cleared.wait(), 30)

    asyncio.run(asyncio.wait_for(go_on(), 60))
    stop.set()


def test_what_stands_in_the_way_of_a_pod_on_its_node_is_told_with_what_mends_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_adapters.cluster.compute._EVENTS_EVERY", 0.0)
    cluster.behaviour.creates, cluster.behaviour.silent = True, {"node-1"}
    compute, stop = KubernetesCompute(api_of(cluster), SPOT), threading.Event()
    threading.Thread(target=compute.watch, args=(lambda _name: None, stop), daemon=True).start()
    compute.launch(work())
    (pod,) = until(lambda: cluster.pods(job="j-1-1"))

    def event(number: int, reason: str, words: str) -> None:
        cluster.objects.create(
            "events",
            NAMESPACE,
            {
                "metadata": {"name": f"e-{number}"},
                "type": "Warning",
                "reason": reason,
                "message": words,
                "lastTimestamp": f"2026-11-21T12:00:0{number}Z",
                "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"]},
            },
        )

    def told() -> tuple[Reason | None, str]:
        compute.look_around()
        status = compute.status("j-1-1")
        return (
            (None, "") if status is None or status.telling is None else (status.telling.reason, status.telling.message)
        )

    event(2, "FailedMount", 'MountVolume.SetUp failed for volume "token" : secret "j-1-1" not found')
    event(1, "FailedCreatePodSandBox", "failed to set up network: connection refused")
    event(3, "FailedScheduling", "0/1 nodes are available")
    until(lambda: "FailedMount" in told()[1])
    assert told()[0] is Reason.POD_REFUSED
    assert told()[1] == (
        'Its pod cannot start (FailedMount): MountVolume.SetUp failed for volume "token" : secret "j-1-1" not found.'
        " Make it, with that key, in the namespace of the pods."
    )
    event(4, "FailedCreatePodSandBox", "failed to set up network: connection refused")
    until(lambda: "FailedCreatePodSandBox" in told()[1])
    assert told()[0] is Reason.INFRA_ERROR
    assert told()[1].endswith("Look at the container runtime and the network plugin of that node; cordon it meanwhile.")
    made = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "PodReadyToStartContainers")]
    cluster.set_status(pod["metadata"]["name"], conditions=made)  # events outlive what they tell of
    until(lambda: told() == (Reason.POD_STARTING, "Starting its pod; the image may have to be pulled first."))
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
