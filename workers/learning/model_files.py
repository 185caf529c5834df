"""The files of a trained classifier, and the description of it that `config.json` holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, JsonValue, model_validator
from safetensors.torch import save as save_tensors

from orchestrator.domain.artifact import Sha256
from orchestrator.domain.model import Model
from workers.learning.data import Normalisation
from workers.learning.model import Architecture

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
MATRIX_FILE = "confusion_matrix.json"


class ClassifierConfig(Model):
    """What one needs besides the weights to use a classifier, and where it came from.

    `normalisation` and `pixel_range` are in the units of the pixels as published; `weights_sha256` is the digest of the
    weights' file, since a flipped bit in it would otherwise go unseen.
    """

    model_config = ConfigDict(alias_generator=None)

    format: Literal["neutrino-image-classifier"] = "neutrino-image-classifier"
    version: Literal[1] = 1
    architecture: Architecture
    labels: tuple[str, ...]
    normalisation: Normalisation
    pixel_range: tuple[float, float]
    params: dict[str, JsonValue]
    dataset: str
    dataset_sha256: Sha256
    weights_sha256: Sha256

    @model_validator(mode="after")
    def _one_label_per_class(self) -> ClassifierConfig:
        if len(self.labels) != self.architecture.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.architecture.classes} classes")
        return self


def encode_weights(weights: Mapping[str, torch.Tensor]) -> bytes:
    """Tensors as the bytes of a safetensors file; equal weights have equal bytes."""
    return save_tensors({name: value.detach().cpu().contiguous() for name, value in weights.items()})


def digest(data: bytes) -> str:
    """The SHA-256 in lowercase hex."""
    return hashlib.sha256(data).hexdigest()


def write_model(
    folder: Path, *, weights: bytes, config: ClassifierConfig, metrics: Mapping[str, float], matrix: Mapping[str, Any]
) -> None:
    """Write the four files of a classifier into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    _write_json(folder / CONFIG_FILE, config.model_dump(mode="json"))
    _write_json(folder / METRICS_FILE, metrics)
    _write_json(folder / MATRIX_FILE, matrix)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
