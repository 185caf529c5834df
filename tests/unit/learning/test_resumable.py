"""A torch training of one's own, stopped after any batch and resumed, ends with the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from workers.learning import reproducible
from workers.learning.errors import InvalidCheckpoint
from workers.learning.resumable import Resumable

if TYPE_CHECKING:
    from tests.unit.learning.conftest import MemoryRun, NewRun

STEPS = 6


class _Training:
    """A network with dropout, which draws from the generator, and an optimizer that has not seen all parameters."""

    def __init__(self, seed: int) -> None:
        reproducible.seed_generators(seed)
        self.model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        self.model.unused = torch.nn.Linear(2, 2)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        self.resumable = Resumable(self.model, self.optimizer, self.schedule)

    def run(self, run: MemoryRun, until: int) -> None:
        position = self.resumable.resume(run) or {"batch": 0}
        while position["batch"] < until:
            images = torch.randn(3, 4, generator=torch.Generator().manual_seed(position["batch"]))
            self.optimizer.zero_grad()
            self.model[2](self.model[1](self.model[0](images))).square().sum().backward()
            self.optimizer.step()
            self.schedule.step()
            position["batch"] += 1
            self.resumable.save(run, position["batch"], position)

    def weights(self) -> list[Any]:
        return [value.tolist() for value in self.model.state_dict().values()]


def test_stopped_after_any_batch_and_resumed(new_run: NewRun) -> None:
    run = new_run({})
    undisturbed = _Training(seed=7)
    undisturbed.run(run, STEPS)
    for saved in run.checkpoints:
        resumed = _Training(seed=99)
        resumed.run(new_run({}, resume=saved), STEPS)
        assert resumed.weights() == undisturbed.weights()


def test_a_checkpoint_of_another_training_is_refused(new_run: NewRun) -> None:
    run = new_run({})
    _Training(seed=7).run(run, 1)
    other = torch.nn.Linear(4, 9)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    saved = new_run({}, resume=run.checkpoints[0])
    with pytest.raises(InvalidCheckpoint, match="it has the parts"):
        Resumable(other, optimizer).resume(saved)
    with pytest.raises(InvalidCheckpoint, match="does not fit"):
        Resumable(other, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2)).resume(saved)
