"""A trained classifier, ready to predict. Loading it runs no code from its files: safetensors and JSON only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from orchestrator.domain.artifact import MANIFEST_NAME
from orchestrator.domain.errors import CorruptArtifact
from orchestrator.domain.faults import field_errors
from workers.learning.errors import InvalidImages, InvalidModel
from workers.learning.model import build_model, pick_device
from workers.learning.model_files import (
    CONFIG_FILE,
    MATRIX_FILE,
    METRICS_FILE,
    WEIGHTS_FILE,
    ClassifierConfig,
    digest,
)

_KNOWN_FILES = {WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE, MATRIX_FILE, MANIFEST_NAME}
# A pickle of protocol 2 and later begins with its opcode PROTO; torch.save makes a ZIP of pickles.
_PICKLE_STARTS = (b"\x80", b"PK\x03\x04")
_PICKLE_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz"}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label of one image, its probability, and the probability of every label."""

    label: str
    probability: float
    probabilities: dict[str, float]


class Classifier:
    """A model in evaluation mode on the best device at hand."""

    def __init__(self, config: ClassifierConfig, model: nn.Module, device: torch.device) -> None:
        self.config = config
        self._device = device
        self._model = model.to(device).eval()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.config.labels

    @torch.inference_mode()
    def predict(self, images: ArrayLike) -> list[Prediction]:
        """One prediction per image. `images` is [count, height, width], or one [height, width], in raw pixels.

        Raises InvalidImages for another shape, for what is not a number, and for pixels out of the range of the
        training images.
        """
        pixels = torch.from_numpy(self._checked(images)).unsqueeze(1).to(self._device)
        normalisation = self.config.normalisation
        logits = self._model((pixels - normalisation.mean) / normalisation.std)
        rows: list[list[float]] = torch.softmax(logits.double(), dim=1).tolist()
        return [self._prediction(row) for row in rows]

    def _prediction(self, row: list[float]) -> Prediction:
        best = max(range(len(row)), key=row.__getitem__)
        return Prediction(self.labels[best], row[best], dict(zip(self.labels, row, strict=True)))

    def _checked(self, images: ArrayLike) -> NDArray[np.float32]:
        shape = (self.config.architecture.height, self.config.architecture.width)
        try:
            array = np.asarray(images, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidImages(
                f"The images are not a regular array of numbers: {error}.", hint=_expected(shape)
            ) from error
        if array.shape == shape:
            array = array[np.newaxis]
        if array.ndim != 3 or array.shape[1:] != shape:
            raise InvalidImages(f"The images have the shape {list(array.shape)}.", hint=_expected(shape))
        least, greatest = self.config.pixel_range
        if not np.all((array >= least) & (array <= greatest)):  # NaN is in no range
            raise InvalidImages(
                f"Pixels go from {least:g} to {greatest:g} as in the training images; these go"
                f" from {array.min():g} to {array.max():g}.",
                hint="Scale them to that range.",
            )
        return array


def _expected(shape: tuple[int, int]) -> str:
    return f"Give [count, {shape[0]}, {shape[1]}], or one image of [{shape[0]}, {shape[1]}]."


def load_classifier(folder: str | Path) -> Classifier:
    """The classifier whose files lie in `folder`.

    Raises InvalidModel when a file is missing, is unknown, is a pickle (which runs code when it is loaded), or does not
    describe a model of ours; CorruptArtifact when the weights are not those that were written.
    """
    folder = Path(folder)
    _refuse_foreign_files(folder)
    config = _read_config(folder)
    weights = (folder / WEIGHTS_FILE).read_bytes()
    if weights.startswith(_PICKLE_STARTS):
        raise _pickle(WEIGHTS_FILE)
    if digest(weights) != config.weights_sha256:
        raise CorruptArtifact(
            f"{folder / WEIGHTS_FILE} does not have the SHA-256 that {CONFIG_FILE} gives.",
            hint="Get the model again; these bytes are damaged or belong to another model.",
        )
    model = build_model(config.architecture)
    try:
        model.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError) as error:
        raise InvalidModel(f"{folder / WEIGHTS_FILE} does not fit the architecture: {error}.") from error
    return Classifier(config, model, pick_device())


def _refuse_foreign_files(folder: Path) -> None:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InvalidModel(f"{folder} is no folder with a model: {error.strerror}.") from error
    for entry in entries:
        if entry.suffix in _PICKLE_SUFFIXES:
            raise _pickle(entry.name)
        if entry.name not in _KNOWN_FILES or not entry.is_file():
            raise InvalidModel(
                f"{entry.name} is not part of a classifier.", hint=f"It has {', '.join(sorted(_KNOWN_FILES))}."
            )
    missing = {WEIGHTS_FILE, CONFIG_FILE} - {entry.name for entry in entries}
    if missing:
        raise InvalidModel(f"{folder} lacks {' and '.join(sorted(missing))}.")


def _pickle(name: str) -> InvalidModel:
    return InvalidModel(
        f"{name} is a pickle, and loading one runs whatever code it holds.", hint="Save the weights as safetensors."
    )


def _read_config(folder: Path) -> ClassifierConfig:
    try:
        return ClassifierConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except ValidationError as error:
        fault = field_errors(error.errors(include_url=False), ClassifierConfig)[0]
        raise InvalidModel(
            f"{folder / CONFIG_FILE} does not describe a classifier: {fault.path or 'document'}: {fault.message}."
        ) from error
