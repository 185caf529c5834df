"""A model in training: all that changes, and the two ways in which it does, a batch and the end of an epoch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user knows

from orchestrator.domain.workloads import ImageClassifierParams
from workers.learning import reproducible
from workers.learning.batches import LabelledImages
from workers.learning.early_stopping import EarlyStopping
from workers.learning.errors import InvalidCheckpoint, TrainingDiverged
from workers.learning.model import Architecture, build_model
from workers.learning.resumable import load_optimizer, optimizer_state
from workers.learning.schedule import warm_up_and_cosine


@dataclass(slots=True)
class Position:
    """Where in the data a training is: epochs done, then batches done, their summed loss, their images and the seconds
    they took."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0

    @property
    def mean_loss(self) -> float:
        """The mean training loss of the epoch so far."""
        return self.loss_sum / self.images


class Trainer:
    """A model in training. Its whole future follows from `state_dict()`, bit for bit.

    `origin` tells what else the result depends on, such as the dataset's digest: a checkpoint of another origin or of
    other parameters is refused.
    """

    def __init__(
        self,
        architecture: Architecture,
        params: ImageClassifierParams,
        *,
        batches_per_epoch: int,
        device: torch.device,
        origin: dict[str, Any],
    ) -> None:
        reproducible.seed_generators(params.seed)
        # Built on the CPU, so that the initial weights of a seed are the same on every device.
        self.model = build_model(architecture).to(device)
        self.position = Position()
        self.early_stopping = EarlyStopping(params.patience)
        self.best_weights: dict[str, torch.Tensor] = {}
        self._params = params
        self._identity = {"params": params.model_dump(), "architecture": architecture.model_dump()} | origin
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=params.lr, weight_decay=params.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, warm_up_and_cosine(params.epochs * batches_per_epoch)
        )

    @property
    def finished(self) -> bool:
        """True when all epochs are done, or none of the last ones was better."""
        return self.position.epoch >= self._params.epochs or self.early_stopping.exhausted

    @property
    def updates(self) -> int:
        """Updates of the weights so far: the step that numbers checkpoints, for it never repeats."""
        return int(self._schedule.last_epoch)

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return float(self._optimizer.param_groups[0]["lr"])

    def learn(self, batch: LabelledImages) -> None:
        """Update the weights by one batch. Raises TrainingDiverged when the loss is not finite."""
        self.model.train()
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self.model(batch.images), batch.labels, label_smoothing=self._params.label_smoothing)
        value = self._finite(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._schedule.step()
        self.position.loss_sum += value * len(batch)
        self.position.images += len(batch)
        self.position.batch += 1

    def end_epoch(self, validation_loss: float) -> None:
        """Keep the weights if they are the best so far, and turn to the next epoch."""
        epoch = self.position.epoch + 1
        if self.early_stopping.observe(epoch, self._finite(validation_loss)):
            self.best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.position = Position(epoch=epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on, as tensors and plain data."""
        return {
            "identity": self._identity,
            "position": asdict(self.position),
            "model": self.model.state_dict(),
            "best_weights": self.best_weights,
            "early_stopping": self.early_stopping.state_dict(),
            "optimizer": optimizer_state(self._optimizer),
            "schedule": self._schedule.state_dict(),
            "generators": reproducible.generator_states(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Raises InvalidCheckpoint when it does not fit this training."""
        try:
            self._check_identity(state["identity"])
            self.model.load_state_dict(state["model"])
            load_optimizer(self._optimizer, state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
            self.early_stopping.load_state_dict(state["early_stopping"])
            device = next(self.model.parameters()).device
            self.best_weights = {name: value.to(device) for name, value in state["best_weights"].items()}
            self.position = Position(**state["position"])
            reproducible.restore_generators(state["generators"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidCheckpoint(f"The checkpoint does not fit this training: {error}.") from error

    def _check_identity(self, found: dict[str, Any]) -> None:
        if found != self._identity:
            differing = sorted(
                key for key in found.keys() | self._identity.keys() if found.get(key) != self._identity.get(key)
            )
            raise InvalidCheckpoint(
                f"The checkpoint belongs to another training: {', '.join(differing)} differ.",
                hint="Submit a new job, which starts from the beginning.",
            )

    def _finite(self, loss: float) -> float:
        if math.isfinite(loss):
            return loss
        raise TrainingDiverged(
            f"The training diverged at epoch {self.position.epoch + 1}: the loss is {loss}.",
            hint=f"Lower lr, which is {self._params.lr:g}, for example to {self._params.lr / 10:g}.",
        )
