"""What a cluster's nodes offer: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cloud_adapters.cluster.presets import presets
from cloud_adapters.compute import Offer
from orchestrator.domain.pods import PodSettings
from orchestrator.domain.quantities import Gpu

_GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
_REGION = "topology.kubernetes.io/region"
_PRODUCT = "nvidia.com/gpu.product"
_ANY = "GPU"
_UNITS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}
_UNITS |= {letter: 1000.0**power for power, letter in enumerate("MGTPE", 2)}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)}


def offers(nodes: Iterable[Mapping[str, Any]], settings: PodSettings) -> tuple[Offer, ...]:
    """The nodes that take pods now, those of one shape together."""
    shapes = Counter(_shape(node, settings) for node in nodes if _usable(node))
    return tuple(
        Offer(machines, cpu, memory, gpu, spot, region)
        for (cpu, memory, gpu, spot, region), machines in sorted(shapes.items(), key=str)
    )


def _usable(node: Mapping[str, Any]) -> bool:
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", ()))
    return ready and not node.get("spec", {}).get("unschedulable")


def _shape(node: Mapping[str, Any], settings: PodSettings) -> tuple[float, int, Gpu | None, bool, str]:
    labels, free = node["metadata"].get("labels", {}), node["status"].get("allocatable", {})
    count = max(int(quantity(free.get(name, "0"))) for name in _GPU_RESOURCES)
    preset = presets()[settings.preset]
    spot = any(labels.get(one["key"]) in one["values"] for one in preset["spot"])
    gpu = Gpu(_gpu_type(labels, preset), count) if count else None
    cpu, memory = quantity(free.get("cpu", "0")), int(quantity(free.get("memory", "0")))
    return cpu, memory, gpu, spot, labels.get(_REGION, "")


def _gpu_type(labels: Mapping[str, str], preset: Mapping[str, Any]) -> str:
    for kind, values in preset["gpus"].items():
        for label, name in preset["labels"].items():
            if labels.get(label) in values.get(name, ()):
                return str(kind)
    return labels.get(_PRODUCT, _ANY).removeprefix("NVIDIA-").removeprefix("Tesla-").upper()


def quantity(amount: str) -> float:
    """An amount as Kubernetes writes it: `3920m` is 3.92, `1k` 1000, `16Gi` so many bytes.

    Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    """
    number = amount.rstrip("numkKMGTPEi")
    return float(number) * _UNITS[amount[len(number) :]]
