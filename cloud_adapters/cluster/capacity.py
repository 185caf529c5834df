"""What a cluster's nodes offer: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from cloud_adapters.cluster.presets import presets
from cloud_adapters.compute import Offer
from orchestrator.domain.pods import PodSettings
from orchestrator.domain.quantities import Gpu, parse_memory

_GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
_REGION = "topology.kubernetes.io/region"
_PRODUCT = "nvidia.com/gpu.product"
_ANY = "GPU"


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
    count = max((int(free.get(name, 0)) for name in _GPU_RESOURCES), default=0)
    preset = presets()[settings.preset]
    spot = any(labels.get(one["key"]) in one["values"] for one in preset["spot"])
    gpu = Gpu(_gpu_type(labels, preset), count) if count else None
    return cpus(free.get("cpu", "0")), parse_memory(free.get("memory", "0")), gpu, spot, labels.get(_REGION, "")


def _gpu_type(labels: Mapping[str, str], preset: Mapping[str, Any]) -> str:
    for kind, values in preset["gpus"].items():
        for label, name in preset["labels"].items():
            if labels.get(label) in values.get(name, ()):
                return str(kind)
    return labels.get(_PRODUCT, _ANY).removeprefix("NVIDIA-").removeprefix("Tesla-").upper()


def cpus(amount: str) -> float:
    """`3920m` as 3.92."""
    return float(amount.removesuffix("m")) / 1000 if amount.endswith("m") else float(amount)
