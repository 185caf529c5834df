"""What we rely on in Kubernetes' API, asked of the double and, where there is one, of a real API server: so that the
double stays honest. Nothing here needs controllers or nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_adapters.cluster import manifests
from cloud_adapters.cluster.api import KubeApi
from cloud_adapters.cluster.compute import KubernetesCompute, remove_jobs
from cloud_adapters.cluster.manifests import FINALIZER, JOB_NAME, POOL_LABEL, PodTarget
from cloud_adapters.compute import Work
from cloud_adapters.compute_errors import ComputeDenied, Outdated, WorkExists, WorkNotFound, WorkRefused
from cloud_adapters.compute_testing import until
from orchestrator.domain.pods import PodSettings
from tests.kube import envtest
from tests.kube.cluster import NAMESPACE, Cluster

POOL = "semantics"


@pytest.fixture(scope="module", params=["double", "envtest", "kubeconfig"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KubeApi, str]]:
    folder: Path = tmp_path_factory.mktemp("kube")
    if request.param == "double":
        cluster = Cluster(folder)
        cluster.behaviour.creates = False
        cluster.behaviour.runs = False
        try:
            from cloud_adapters.cluster.access import open_cluster
            from orchestrator.domain.pods import ClusterKind, ClusterRef

            ref = ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(cluster.kubeconfig()))
            yield open_cluster(ref)[0], NAMESPACE
        finally:
            cluster.close()
    elif request.param == "envtest":
        if envtest.ASSETS is None:
            pytest.skip("KUBEBUILDER_ASSETS names no folder")
        with envtest.started(folder) as real:
            yield real
    else:
        cluster_of_config = envtest.open_real()
        if cluster_of_config is None:
            pytest.skip("KUBECONFIG names no cluster with the namespace neutrino-test")
        yield cluster_of_config


@pytest.fixture
def api(opened: tuple[KubeApi, str]) -> Iterator[KubeApi]:
    yield opened[0]
    remove_jobs(opened[0], opened[1], POOL)


@pytest.fixture
def spot(opened: tuple[KubeApi, str]) -> PodTarget:
    return PodTarget(
        opened[1], POOL, PodSettings(queue="none"), "registry.example.com/worker:1"
    )  # suspended: makes no pods


def work(name: str = "j-1-1", **fields: Any) -> Work:
    labels = {"neutrino/job": "j-1", "neutrino/epoch": "1"}
    return Work(name=name, command=("true",), env={}, token="t", **({"labels": labels} | fields))


def jobs(spot: PodTarget) -> str:
    return f"/apis/batch/v1/namespaces/{spot.namespace}/jobs"


def belongings(spot: PodTarget) -> tuple[str, ...]:
    """Where the things lie that work of several nodes has beside its Job."""
    inside = f"namespaces/{spot.namespace}"
    policies = f"/apis/networking.k8s.io/v1/{inside}/networkpolicies"
    return f"/api/v1/{inside}/secrets", f"/api/v1/{inside}/services", policies


def test_what_we_make_is_taken_once_and_goes_with_its_job(api: KubeApi, spot: PodTarget) -> None:
    compute = KubernetesCompute(api, spot)
    for _ in range(2):
        compute.launch(work(nodes=2))
    made = api.call("GET", f"{jobs(spot)}/j-1-1")
    for path in belongings(spot):
        thing = api.call("GET", f"{path}/j-1-1")
        assert [one["uid"] for one in thing["metadata"]["ownerReferences"]] == [made["metadata"]["uid"]]
    with pytest.raises(WorkExists):
        compute.launch(work(labels={"neutrino/job": "j-2"}))


def test_a_deleted_job_stays_until_it_is_recorded(api: KubeApi, spot: PodTarget) -> None:
    compute = KubernetesCompute(api, spot)
    compute.launch(work())
    api.call("DELETE", f"{jobs(spot)}/j-1-1", manifests.deletion("Background"))
    meta = api.call("GET", f"{jobs(spot)}/j-1-1")["metadata"]
    assert "deletionTimestamp" in meta
    assert FINALIZER in meta["finalizers"]
    compute.release("j-1-1")
    with pytest.raises(WorkNotFound):
        api.call("GET", f"{jobs(spot)}/j-1-1")


def test_our_finalizer_is_taken_off_alone(api: KubeApi, spot: PodTarget) -> None:
    compute = KubernetesCompute(api, spot)
    compute.launch(work())
    compute.terminate("j-1-1")  # in the foreground, which adds one
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["some/other"]}}
    before = api.call("GET", f"{jobs(spot)}/j-1-1")["metadata"]["finalizers"]
    after = api.call("PATCH", f"{jobs(spot)}/j-1-1", patch, kind="application/strategic-merge-patch+json")
    assert sorted(after["metadata"]["finalizers"]) == sorted(before)
    compute.release("j-1-1")


def test_what_is_not_typed_is_refused(api: KubeApi, spot: PodTarget) -> None:
    made = manifests.job(work(), spot)
    made["spec"]["template"]["spec"]["containers"][0]["image"] = 7
    with pytest.raises(WorkRefused):
        api.call("POST", jobs(spot), made)


def test_of_what_is_refused_nothing_is_left(api: KubeApi, spot: PodTarget) -> None:
    with pytest.raises(WorkRefused):
        KubernetesCompute(api, spot).launch(work(nodes=2, image=7))
    for path in belongings(spot):
        with pytest.raises(WorkNotFound):
            api.call("GET", f"{path}/j-1-1")


def test_conflicts_are_told(api: KubeApi, spot: PodTarget) -> None:
    KubernetesCompute(api, spot).launch(work())
    old = api.call("GET", f"{jobs(spot)}/j-1-1")
    patch = {"metadata": {"annotations": {"a": "b"}}}
    api.call("PATCH", f"{jobs(spot)}/j-1-1", patch, kind="application/merge-patch+json")
    with pytest.raises(WorkExists, match="modified"):
        api.call("PUT", f"{jobs(spot)}/j-1-1", old)


def test_lists_come_in_pages_by_label(api: KubeApi, spot: PodTarget) -> None:
    compute = KubernetesCompute(api, spot)
    for number in range(5):
        compute.launch(work(f"j-{number}-1"))
    found, _ = api.items(jobs(spot), {"labelSelector": f"{POOL_LABEL}={POOL}", "limit": 2})
    assert [one["metadata"]["name"] for one in found] == [f"j-{number}-1" for number in range(5)]
    assert api.items(jobs(spot), {"labelSelector": f"{POOL_LABEL}=other"})[0] == []
    fields = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate"}
    assert api.items(f"/api/v1/namespaces/{spot.namespace}/events", fields)[0] == []


def test_a_watch_goes_on_from_a_list_and_forgets_what_is_long_ago(api: KubeApi, spot: PodTarget) -> None:
    pods = f"/api/v1/namespaces/{spot.namespace}/pods"
    template = manifests.job(work(), spot)["spec"]["template"]
    labels = {POOL_LABEL: POOL, JOB_NAME: "j-1-1"}
    compute, stop, seen = KubernetesCompute(api, spot), threading.Event(), threading.Event()
    thread = threading.Thread(target=compute.watch, args=(lambda _name: seen.set(), stop), daemon=True)
    thread.start()
    assert compute.synced.wait(timeout=120)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "watched", "labels": labels},
        "spec": template["spec"],
    }
    api.call("POST", pods, pod)
    assert seen.wait(timeout=120)
    until(lambda: compute.status("j-1-1") is not None)
    api.call("DELETE", f"{pods}/watched", {"gracePeriodSeconds": 0})
    until(lambda: compute.status("j-1-1") is None)
    stop.set()
    assert forgets(api, pods)


def forgets(api: KubeApi, pods: str) -> bool:
    """Whether a watch from the beginning of time is told 410, as an answer or as an event. (A server that has just been
    started may still know everything.)"""
    try:
        for event in api.events(pods, {"resourceVersion": "1", "timeoutSeconds": 5}, 20):
            return bool(event["type"] != "ERROR" or event["object"]["code"] == 410)
    except Outdated:
        return True
    return True


def test_what_is_not_allowed_under_the_restricted_standard_does_not_run(api: KubeApi, spot: PodTarget) -> None:
    template = manifests.job(work(), spot)["spec"]["template"]
    template["spec"]["containers"][0]["securityContext"]["privileged"] = True
    template["spec"]["containers"][0]["securityContext"].pop("allowPrivilegeEscalation")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad"}, "spec": template["spec"]}
    with pytest.raises((ComputeDenied, WorkRefused)):
        api.call("POST", f"/api/v1/namespaces/{spot.namespace}/pods", pod)
