"""How each cloud names its GPUs and spot nodes: data with its sources (`presets.json`), turned into where pods go."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from cloud_adapters.compute_errors import WorkRefused
from orchestrator.domain.errors import nearest
from orchestrator.domain.pods import PodSettings

GPU_RESOURCE = {"MI": "amd.com/gpu"}  # by the beginning of the type; all others are NVIDIA's
_NVIDIA = "nvidia.com/gpu"


@cache
def presets() -> dict[str, dict[str, Any]]:
    """All presets by name."""
    loaded: dict[str, dict[str, Any]] = json.loads(files(__package__).joinpath("presets.json").read_text("utf-8"))
    return loaded


def gpu_resource(kind: str) -> str:
    """The extended resource under which nodes offer a type of GPU."""
    return next((name for prefix, name in GPU_RESOURCE.items() if kind.startswith(prefix)), _NVIDIA)


def tolerations(settings: PodSettings, gpu: str | None) -> list[dict[str, str]]:
    """The taints that pods of a pool accept."""
    preset = presets()[settings.preset]
    own = [
        {"key": one.key, "operator": "Exists" if one.value is None else "Equal"}
        | ({} if one.value is None else {"value": one.value})
        | ({} if one.effect is None else {"effect": one.effect})
        for one in settings.tolerations
    ]
    return [
        *(preset["gpu_tolerations"] if gpu else []),
        *(preset["spot_tolerations"] if settings.spot else []),
        *own,
    ]


def node_terms(settings: PodSettings, gpu: str | None) -> list[dict[str, Any]]:
    """Alternatives for the nodes that pods may go to, as node selector terms; empty for anywhere. Raises WorkRefused
    when the cloud has no such GPU."""
    kinds: list[dict[str, Any] | None] = [*_gpu_alternatives(settings.preset, gpu)] or [None]
    spots: list[dict[str, Any] | None] = [*presets()[settings.preset]["spot"]] if settings.spot else []
    return [
        {"matchExpressions": [{"key": one["key"], "operator": "In", "values": one["values"]} for one in both]}
        for kind in kinds
        for spot in spots or [None]
        if (both := [one for one in (kind, spot) if one is not None])
    ]


def _gpu_alternatives(preset: str, gpu: str | None) -> list[dict[str, Any]]:
    data = presets()[preset]
    if gpu is None or not data["gpus"]:
        return []
    if gpu not in data["gpus"]:
        guess = nearest(gpu, data["gpus"])
        hint = f"Did you mean {guess}?" if guess else f"It has {', '.join(sorted(data['gpus']))}."
        raise WorkRefused(f"{preset} has no GPU of type {gpu}.", hint=hint)
    values = data["gpus"][gpu]
    return [{"key": label, "values": values[name]} for label, name in data["labels"].items() if name in values]
