"""A cluster that has no quota left says so, and how."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.compute import KubernetesCompute
from cloud_adapters.cluster.manifests import INDEX, JOB_NAME, PodTarget
from cloud_adapters.compute import Work
from cloud_adapters.compute_errors import OverQuota
from cloud_adapters.compute_testing import until
from orchestrator.domain.pods import ClusterKind, ClusterRef, PodSettings
from orchestrator.domain.state import Reason
from tests.kube.cluster import NAMESPACE, Cluster
from tests.kube.objects import Refused
from workers.flight import QUOTA_PATIENCE, Flight

WORK = Work(name="j-1-1", command=("true",), env={}, token="secret", memory=2**26)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture
def compute(cluster: Cluster) -> Iterator[KubernetesCompute]:
    """A pool whose Jobs wait in a queue of Kueue."""
    api, namespace = open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(cluster.kubeconfig())))
    made, stop = (
        KubernetesCompute(api, PodTarget(namespace, "test", PodSettings(queue="team"), "worker:1")),
        threading.Event(),
    )
    thread = threading.Thread(target=made.watch, args=(lambda _name: None, stop), daemon=True)
    thread.start()
    assert made.synced.wait(30)
    yield made
    stop.set()


def test_a_job_that_the_api_server_refuses_for_a_quota(
    cluster: Cluster, compute: KubernetesCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = cluster.objects.create

    def refuse(resource: str, namespace: str, thing: dict[str, Any]) -> dict[str, Any]:
        if resource == "jobs":
            words = 'jobs.batch "j-1-1" is forbidden: exceeded quota: small, requested: count/jobs.batch=1, limited: 0'
            raise Refused(403, "Forbidden", words)
        return create(resource, namespace, thing)

    monkeypatch.setattr(cluster.objects, "create", refuse)
    with pytest.raises(OverQuota, match="exceeded quota: small"):
        compute.launch(WORK)


def test_why_kueue_lets_a_job_wait(cluster: Cluster, compute: KubernetesCompute) -> None:
    compute.launch(WORK)
    words = (
        "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"
    )
    event = {
        "metadata": {"name": "pending"},
        "reason": "Pending",
        "message": words,
        "involvedObject": {"kind": "Workload", "name": "job-j-1-1-0a1b2"},
    }
    cluster.objects.create("events", NAMESPACE, event)
    compute.look_around()
    status = compute.status("j-1-1")
    assert status is not None
    assert status.why == words


def test_a_quota_for_some_nodes_of_a_job_is_as_good_as_none(
    cluster: Cluster, compute: KubernetesCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute.launch(replace(WORK, nodes=3))
    (job,) = cluster.objects.all("jobs")
    labels = job["spec"]["template"]["metadata"]["labels"] | {JOB_NAME: "j-1-1", INDEX: "0"}
    pod = {"metadata": {"name": "j-1-1-0", "labels": labels}, "spec": {"nodeName": "node-1"}}
    running = {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}
    cluster.objects.create("pods", NAMESPACE, pod | {"status": running})
    words = 'pods "j-1-1-1-x" is forbidden: exceeded quota: compute'
    event = {
        "metadata": {"name": "refused"},
        "reason": "FailedCreate",
        "message": words,
        "involvedObject": {"kind": "Job", "name": "j-1-1"},
    }
    cluster.objects.create("events", NAMESPACE, event)
    until(lambda: (seen := compute.status("j-1-1")) is not None and bool(seen.pieces))
    compute.look_around()
    flight, now = Flight("j-1.1"), 1000.0
    monkeypatch.setattr("workers.flight.clock", lambda: now)
    flight.take(compute.status("j-1-1"), 1, 600)
    assert flight.wait is not None
    assert flight.wait.message == f"Kubernetes makes only 1 of 3 pods: {words}"
    now += QUOTA_PATIENCE + 1
    flight.take(compute.status("j-1-1"), 2, 600)
    assert flight.verdict == (Reason.QUOTA_EXCEEDED, flight.wait.message, None)
