"""Images as tensors, in the order and the batches in which a training sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.domain.workloads import ImageClassifierParams
from workers.learning.augment import warp
from workers.learning.data import ImageDataset, Normalisation


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """`images` is [count, 1, height, width], `labels` the class index of each."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, dataset: ImageDataset, rows: NDArray[np.int64]) -> LabelledImages:
        """These rows of a dataset, pixels as they are, on the CPU."""
        images = torch.from_numpy(dataset.images[rows]).unsqueeze(1)
        return cls(images, torch.from_numpy(dataset.labels[rows]))

    def normalised(self, normalisation: Normalisation) -> LabelledImages:
        """The same images as the network wants to see them."""
        return LabelledImages((self.images - normalisation.mean) / normalisation.std, self.labels)

    def to(self, device: torch.device) -> LabelledImages:
        """The same images on a device."""
        return LabelledImages(self.images.to(device), self.labels.to(device))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | torch.Tensor) -> LabelledImages:
        return LabelledImages(self.images[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class Batches:
    """The training images, in a new order and newly distorted in each epoch.

    Order and distortion are a function of the seed and the epoch alone, so a training that is resumed at any batch of
    any epoch goes on with the very images that it would have seen next.
    """

    data: LabelledImages
    normalisation: Normalisation
    params: ImageClassifierParams
    device: torch.device

    def __len__(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        return math.ceil(len(self.data) / self.params.batch_size)

    def of_epoch(self, epoch: int, *, start: int = 0) -> Iterator[LabelledImages]:
        """The batches of an epoch from number `start` on; both are counted from 0."""
        rng = np.random.default_rng([self.params.seed, epoch])
        shuffled = self.data[torch.from_numpy(rng.permutation(len(self.data)))]
        # Before the normalisation, while the background is 0: that is what comes in at the edges.
        warped = LabelledImages(warp(shuffled.images, self.params.augment, rng), shuffled.labels)
        ready = warped.normalised(self.normalisation).to(self.device)
        size = self.params.batch_size
        for batch in range(start, len(self)):
            yield ready[batch * size : (batch + 1) * size]
