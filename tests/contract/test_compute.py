"""The contract of places that run work, kept by processes of this machine and by Kubernetes: by the API double, and by
the cluster of $KUBECONFIG when it has the namespace `neutrino-test` (with the image $NEUTRINO_TEST_IMAGE)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloud_adapters.cluster.access import open_cluster
from cloud_adapters.cluster.compute import KubernetesCompute, remove_jobs
from cloud_adapters.cluster.manifests import PodTarget
from cloud_adapters.compute import Compute
from cloud_adapters.compute_testing import ComputeContract
from cloud_adapters.processes import ProcessCompute
from orchestrator.domain.pods import ClusterKind, ClusterRef, PodSettings
from tests.kube import envtest
from tests.kube.cluster import Cluster

_REAL = envtest.open_real()


@contextmanager
def watched(compute: Compute) -> Iterator[Compute]:
    """A place whose `watch` runs."""
    stop = threading.Event()
    thread = threading.Thread(target=compute.watch, args=(lambda _name: None, stop), daemon=True)
    thread.start()
    assert compute.synced.wait(timeout=120)
    yield compute
    for name in compute.inventory():
        compute.release(name)
    stop.set()


class TestProcesses(ComputeContract):
    @pytest.fixture
    def compute(self, tmp_path: Path) -> Iterator[Compute]:
        with watched(ProcessCompute(tmp_path)) as compute:
            yield compute


class TestDouble(ComputeContract):
    @pytest.fixture
    def compute(self, tmp_path: Path) -> Iterator[Compute]:
        cluster = Cluster(tmp_path)
        cluster.node("node-1")
        try:
            api, namespace = open_cluster(ClusterRef(kind=ClusterKind.KUBECONFIG, kubeconfig=str(cluster.kubeconfig())))
            with watched(KubernetesCompute(api, PodTarget(namespace, "test", PodSettings(), "worker:1"))) as compute:
                yield compute
        finally:
            cluster.close()


@pytest.mark.skipif(_REAL is None, reason="KUBECONFIG names no cluster with the namespace neutrino-test")
class TestReal(ComputeContract):
    python = "python"

    @pytest.fixture
    def compute(self) -> Iterator[Compute]:
        assert _REAL is not None
        api, namespace = _REAL
        remove_jobs(api, namespace, "test")
        image = os.environ.get("NEUTRINO_TEST_IMAGE", "python:3.11-slim")
        with watched(KubernetesCompute(api, PodTarget(namespace, "test", PodSettings(), image))) as compute:
            yield compute
        remove_jobs(api, namespace, "test")
