"""What a real cluster (Kubernetes 1.36.2, containerd) said of its pods and nodes, as it was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud_adapters.cluster.capacity import quantity
from cloud_adapters.cluster.reading import piece
from cloud_adapters.compute import Phase
from orchestrator.domain.state import Reason

PODS = json.loads(Path(__file__).with_name("pods_of_1_36.json").read_text("utf-8"))
SAYS = {
    "unschedulable": (Phase.WAITING, Reason.UNSCHEDULABLE, False, "0/2 nodes are available: 2 Insufficient cpu."),
    "no such image": (Phase.STARTING, Reason.IMAGE_UNAVAILABLE, False, "localhost:5055/none:1: not found"),
    "no such image, again": (Phase.STARTING, Reason.IMAGE_UNAVAILABLE, True, "localhost:5055/none:1: not found"),
    "no registry": (Phase.STARTING, Reason.IMAGE_UNAVAILABLE, False, "connection refused"),
    "no registry, again": (Phase.STARTING, Reason.IMAGE_UNAVAILABLE, False, "connection refused"),
    "no such key": (Phase.STARTING, Reason.POD_REFUSED, False, "couldn't find key nokey in Secret neutrino-jobs/hub"),
    "no python": (Phase.STARTING, Reason.POD_STARTING, False, ""),  # it has failed a moment later
    "running": (Phase.RUNNING, None, False, ""),
    "evicted, going": (Phase.RUNNING, None, False, ""),
    "evicted": (Phase.FAILED, Reason.PREEMPTED, False, "EvictionByEvictionAPI"),
}


@pytest.mark.parametrize(
    ("amount", "found"),
    [
        ("2", 2),
        ("3920m", 3.92),
        ("1k", 1000),
        ("1e3", 1000),
        ("18290236Ki", 18290236 * 1024),
        ("16Gi", 16 * 2**30),
        ("1500M", 1.5e9),
        ("2E", 2e18),
        ("128974848000m", 128974848),
    ],
)
def test_an_amount_is_read_as_kubernetes_writes_it(amount: str, found: float) -> None:
    assert quantity(amount) == pytest.approx(found)


@pytest.mark.parametrize("name", PODS)
def test_a_real_pod_is_understood(name: str) -> None:
    phase, reason, hopeless, words = SAYS[name]
    found = piece(PODS[name])
    assert (found.phase, found.reason, found.hopeless) == (phase, reason, hopeless)
    assert words in found.message
    assert (found.gone_by is not None) == name.startswith("evicted")
    assert not found.bare
