"""Any torch training, resumable bit for bit: its model, optimizer, schedule, random generators, and where in its data
it is, as one checkpoint of safetensors and JSON.

    training = Resumable(model, optimizer, schedule)
    position = training.resume(run) or {"epoch": 0, "batch": 0}
    while …:
        …
        if run.stopping or run.checkpoint_wanted or …:
            training.save(run, step, position)
            if run.stopping:
                raise Interrupted

The order of the data must follow from the position, for example from a generator that is seeded with the epoch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from orchestrator.domain.run import Run
from workers.learning import checkpoint, reproducible
from workers.learning.errors import InvalidCheckpoint


class Stateful(Protocol):
    """What can be saved and restored, such as a learning rate schedule or a gradient scaler."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Resumable:
    """A training in progress. `others` are further parts by name, such as `scaler=`; the schedule may be left out."""

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Stateful | None = None,
        **others: Stateful,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._parts: dict[str, Stateful] = others if schedule is None else {"schedule": schedule, **others}

    def state(self, position: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that the rest of the training depends on. `position` is plain data of one's own."""
        return {
            "model": self._model.state_dict(),
            "optimizer": optimizer_state(self._optimizer),
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "generators": reproducible.generator_states(),
            "position": dict(position),
        }

    def restore(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Go on from where `state` was taken; returns its position. Raises InvalidCheckpoint when it does not fit."""
        try:
            if state["parts"].keys() != self._parts.keys():
                raise ValueError(f"it has the parts {sorted(state['parts'])}, and not {sorted(self._parts)}")
            self._model.load_state_dict(state["model"])
            load_optimizer(self._optimizer, state["optimizer"])
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
            reproducible.restore_generators(state["generators"])
            return dict(state["position"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidCheckpoint(f"The checkpoint does not fit this training: {error}.") from error

    def save(self, run: Run, step: int, position: Mapping[str, Any]) -> None:
        """Publish a checkpoint. Returns once it is committed: a later attempt resumes here."""
        with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=run.scratch_dir) as folder:
            checkpoint.save(self.state(position), Path(folder))
            run.checkpoint(folder, step=step)

    def resume(self, run: Run) -> dict[str, Any] | None:
        """Go on from the attempt's checkpoint; returns its position, or None when there is no checkpoint."""
        return None if run.resume_dir is None else self.restore(checkpoint.load(run.resume_dir))


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state with names as keys, as checkpoints need them: torch keys it by the parameter's number."""
    state = optimizer.state_dict()
    return {
        "groups": state["param_groups"],
        "state": {str(number): value for number, value in state["state"].items()},
    }


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restore what `optimizer_state` gave."""
    kept = state["state"]
    # Checkpoints of jobs that began under the release before have a list here: of all parameters, in order.
    numbered = dict(enumerate(kept)) if isinstance(kept, list) else {int(number): kept[number] for number in kept}
    optimizer.load_state_dict({"param_groups": state["groups"], "state": numbered})
