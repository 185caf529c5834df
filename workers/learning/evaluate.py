"""How well a model does on images it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows
from torch import nn

from workers.learning.batches import LabelledImages
from workers.learning.metrics import ConfusionMatrix

_CHUNK = 1024  # images per forward pass, to bound the memory


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The mean loss and the confusion matrix over a set of images."""

    loss: float
    matrix: ConfusionMatrix

    def metrics(self, part: str) -> dict[str, float]:
        """The loss and the scores under the names `PART/loss`, `PART/accuracy` and so on."""
        return {f"{part}/{name}": value for name, value in ({"loss": self.loss} | self.matrix.scores()).items()}


@torch.inference_mode()
def evaluate(model: nn.Module, data: LabelledImages, *, label_smoothing: float) -> Evaluation:
    """Predict all images with the weights as they are. The loss is the one that the training minimises."""
    model.eval()
    logits = torch.cat([model(data.images[start : start + _CHUNK]) for start in range(0, len(data), _CHUNK)])
    loss = F.cross_entropy(logits, data.labels, label_smoothing=label_smoothing)
    predicted = logits.argmax(dim=1)
    matrix = ConfusionMatrix.of(data.labels.tolist(), predicted.tolist(), classes=logits.shape[1])
    return Evaluation(loss.item(), matrix)
