"""Datasets that come with Neutrino, their split into three parts, and the normalisation of pixels. No torch here."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from orchestrator.domain.model import Model
from orchestrator.domain.workloads import DIGITS
from workers.learning.errors import DatasetUnavailable

TEST_FRACTION = 0.20
VALIDATION_FRACTION = 0.15


@dataclass(frozen=True, slots=True)
class ImageDataset:
    """Grey images with a label each.

    `images` is [count, height, width] with the pixels as published, `pixel_range` their least and greatest value;
    `labels` are indices into `label_names`; `sha256` is the digest of the source, for a model's lineage.
    """

    uri: str
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    pixel_range: tuple[float, float]
    sha256: str


def load_digits() -> ImageDataset:
    """The 1,797 handwritten digits of 8 x 8 pixels that ship with scikit-learn, pixels from 0 to 16.

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    1998, https://doi.org/10.24432/C50P49 (the test set of it). The file is read in place: `import sklearn.datasets`
    would load scipy and take longer than an epoch.

    Raises DatasetUnavailable when scikit-learn is not installed.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DatasetUnavailable(
            f"{DIGITS} comes with scikit-learn, which is not installed here.",
            hint="Install it with: pip install 'neutrino-ai[learn]'.",
        )
    packed = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz").read_bytes()
    csv = gzip.decompress(packed)
    table = np.loadtxt(io.BytesIO(csv), delimiter=",", dtype=np.float32)
    return ImageDataset(
        uri=DIGITS,
        images=table[:, :64].reshape(-1, 8, 8),
        labels=table[:, 64].astype(np.int64),
        label_names=tuple("0123456789"),
        pixel_range=(0.0, 16.0),
        sha256=hashlib.sha256(csv).hexdigest(),
    )


DATASETS: Mapping[str, Callable[[], ImageDataset]] = {DIGITS: load_digits}


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of a dataset in three parts that do not overlap, each sorted."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def stratified_split(labels: NDArray[np.int64], seed: int) -> Split:
    """Divide the rows at random so that every class has the same share, up to rounding, in each part.

    The validation part decides when training stops and which epoch is kept; the test part is looked at once, at the
    end. The seed is not the one of the training, so that models of different seeds are compared on the same images.
    """
    rng = np.random.default_rng(seed)
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test = round(len(rows) * TEST_FRACTION)
        validation = round(len(rows) * VALIDATION_FRACTION)
        pieces = np.split(rows, [test, test + validation])
        for part, piece in zip(parts, pieces, strict=True):
            part.append(piece)
    test_rows, validation_rows, train_rows = (np.sort(np.concatenate(part)) for part in parts)
    return Split(train=train_rows, validation=validation_rows, test=test_rows)


class Normalisation(Model):
    """`(pixel - mean) / std`, so that the network sees values around zero with unit variance."""

    model_config = ConfigDict(alias_generator=None)

    mean: float
    std: float = Field(gt=0)

    @classmethod
    def of(cls, images: NDArray[np.float32]) -> Normalisation:
        """The constants of these images. Give it the training part only: the others must stay unseen."""
        return cls(mean=float(images.mean(dtype=np.float64)), std=float(images.std(dtype=np.float64)))
