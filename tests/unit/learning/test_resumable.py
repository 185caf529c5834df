"""A torch training of one's own, stopped after any batch and resumed, ends with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from workers.learning import checkpoint, reproducible
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


class _Tied(torch.nn.Module):
    """Two layers that share their weight, and views of it."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
        self.out.weight = self.into.weight
        self.register_buffer("first", self.into.weight.detach()[:2])
        self.register_buffer("flat", self.into.weight.detach().view(16))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.into(values))
        return found


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),  # its best is infinite
        lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3]),  # its keys are numbers
    ],
    ids=["plateau", "steps"],
)
def test_common_parts_of_trainings_can_be_saved(new_run: NewRun, schedule: Any) -> None:
    def training() -> tuple[_Tied, Any, Resumable]:
        reproducible.seed_generators(3)
        model = _Tied()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        following = schedule(optimizer)
        return model, (optimizer, following), Resumable(model, optimizer, following)

    def steps(model: _Tied, parts: Any, first: int, last: int) -> list[Any]:
        optimizer, following = parts
        for number in range(first, last):
            optimizer.zero_grad()
            loss = model(torch.full((1, 4), float(number + 1))).square().sum()
            loss.backward()
            optimizer.step()
            following.step(*([1.0] if isinstance(following, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
        return [optimizer.param_groups[0]["lr"], *(value.tolist() for value in model.state_dict().values())]

    model, parts, resumable = training()
    run = new_run({})
    resumable.save(run, 0, {})
    steps(model, parts, 0, 2)
    resumable.save(run, 2, {})
    undisturbed = steps(model, parts, 2, 6)
    for saved, begin in zip(run.checkpoints, (0, 2), strict=True):
        model, parts, resumable = training()
        resumable.resume(new_run({}, resume=saved))
        assert steps(model, parts, begin, 6) == undisturbed


def test_a_tree_reads_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "map": {1: "one", 2.5: None}, "marks": [{"tensor": 1}, {"float": "x"}, {"map": []}],
        "numbers": [float("inf"), float("-inf"), 0.1, -0.0], "empty": torch.zeros(0, 3), "none": torch.zeros(0),
    }  # fmt: skip
    checkpoint.save(state, tmp_path)
    found = checkpoint.load(tmp_path)
    assert {name: found[name] for name in ("map", "marks", "numbers")} == {
        name: state[name] for name in ("map", "marks", "numbers")
    }
    assert (found["empty"].shape, found["none"].shape) == ((0, 3), (0,))
    with pytest.raises(TypeError, match="inner/0 is a set"):
        checkpoint.save({"inner": [{1}]}, tmp_path)


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
