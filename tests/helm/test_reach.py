"""Who reaches whom in a release whose cluster enforces NetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloud_adapters.cluster import manifests
from cloud_adapters.compute import Work
from orchestrator.domain.pods import PodSettings
from tests.helm.chart import NAMESPACE, Release, render, rendered
from tests.helm.reach import Network, Place

API, POSTGRES, REDIS, METRICS, HTTPS, DNS = 8470, 5432, 6379, 9470, 443, 53
OUTSIDE = Place("203.0.113.7")
METADATA = Place("169.254.169.254")
STRANGER = Place("10.0.9.9", "elsewhere", {"app": "other"})
PORTS = (22, 80, API, 8471, POSTGRES, REDIS, METRICS, 29500)


def _component(release: Release, name: str, address: str = "10.0.0.1") -> Place:
    for _, pod in release.pods():
        labels = pod["metadata"]["labels"]
        if labels["app.kubernetes.io/component"] == name:
            return Place(address, NAMESPACE, labels)
    raise LookupError(name)


def _job(name: str, namespace: str = NAMESPACE, *, nodes: int = 1) -> tuple[Work, manifests.PodTarget, Place]:
    work = Work(name=f"{name}-1", command=("true",), env={}, token="t", labels={"neutrino/job": name}, nodes=nodes)
    spot = manifests.PodTarget(namespace, "pods", PodSettings(), "worker:1")
    labels = manifests.job(work, spot)["spec"]["template"]["metadata"]["labels"]
    return work, spot, Place("10.0.1.1", namespace, {**labels, manifests.JOB_NAME: work.name})


@pytest.fixture(params=["bare", "external"])
def release(request: pytest.FixtureRequest) -> Release:
    return rendered(request.param)


@pytest.fixture
def jobs_namespace(release: Release) -> str:
    (policy,) = [one for one in release.of("NetworkPolicy") if one["metadata"]["name"].endswith("-job")]
    namespace: str = policy["metadata"]["namespace"]
    return namespace


def _open(network: Network, source: Place, target: Place) -> Iterator[int]:
    return (port for port in PORTS if network.lets(source, target, port))


def test_pods_of_jobs_reach_the_api_names_and_the_world_and_nothing_else(release: Release, jobs_namespace: str) -> None:
    network = Network(release.of("NetworkPolicy"))
    _, _, job = _job("j-1", jobs_namespace)
    assert list(_open(network, job, _component(release, "api"))) == [API]
    for name in ("scheduler", "worker", "launcher", "migration", "test"):
        assert list(_open(network, job, _component(release, name))) == []
    assert list(_open(network, job, STRANGER)) == []
    assert network.lets(job, STRANGER, DNS, "UDP")
    assert network.lets(job, OUTSIDE, HTTPS)
    assert not network.lets(job, METADATA, 80)
    assert not network.lets(job, METADATA, HTTPS)


def test_pods_of_jobs_reach_no_store_of_the_release() -> None:
    release = rendered("bare")
    network = Network(release.of("NetworkPolicy"))
    _, _, job = _job("j-1")
    assert list(_open(network, job, _component(release, "postgres"))) == []
    assert list(_open(network, job, _component(release, "redis"))) == []


def test_nodes_of_a_job_reach_each_other_and_no_other_job(release: Release, jobs_namespace: str) -> None:
    work, spot, one = _job("j-1", jobs_namespace, nodes=2)
    others = [_job("j-2", jobs_namespace, nodes=2), _job("j-3", jobs_namespace)]
    made = [manifests.network_policy(work, spot), manifests.network_policy(*others[0][:2])]
    network = Network([*release.of("NetworkPolicy"), *made])
    assert list(_open(network, one, one)) == list(PORTS)
    for _, _, other in others:
        assert list(_open(network, one, other)) == []
        assert list(_open(network, other, one)) == []


def test_each_part_reaches_what_it_needs() -> None:
    release = rendered("bare")
    network = Network(release.of("NetworkPolicy"))
    parts = ("api", "scheduler", "worker", "launcher", "migration", "test", "remover", "postgres", "redis")
    place = {name: _component(release, name) for name in parts}
    found = {
        name: {target for target in place if list(_open(network, source, place[target])) and target != name}
        for name, source in place.items()
    }
    assert found == {
        "api": {"postgres"},
        "scheduler": {"postgres", "redis"},
        "migration": {"postgres"},
        "test": {"api", "postgres"},
        "worker": {"api", "redis"},
        "launcher": {"api", "redis"},
        "remover": {"api"},
        "postgres": set(),
        "redis": set(),
    }
    cluster = Place("10.96.0.1")
    assert {name for name, source in place.items() if network.lets(source, cluster, 6443)} == {"launcher", "remover"}


def test_who_may_reach_the_api_and_the_metrics_can_be_named() -> None:
    def peer(name: str) -> dict[str, Any]:
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

    values = {
        "networkPolicy": {"apiFrom": [peer("ingress")], "prometheusFrom": [peer("monitoring")]},
        "monitoring": {"serviceMonitor": {"enabled": True}},
    }
    release = render(values)
    network, api = Network(release.of("NetworkPolicy")), _component(release, "api")
    ingress, prometheus = Place("10.0.2.1", "ingress"), Place("10.0.2.2", "monitoring")
    assert network.lets(ingress, api, API)
    assert not network.lets(STRANGER, api, API)
    for ours in (_job("j-1")[2], _component(release, "worker"), _component(release, "launcher")):
        assert network.lets(ours, api, API)
    scheduler = _component(release, "scheduler")
    assert network.lets(prometheus, scheduler, METRICS)
    assert not network.lets(ingress, scheduler, METRICS)
