"""A training that is broken off anywhere and resumed ends with the same bits as one that nothing disturbed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from orchestrator.domain.run import Interrupted
from workers.learning import checkpoint, reproducible
from workers.learning.errors import InvalidCheckpoint
from workers.workloads.image_classifier import run as train

if TYPE_CHECKING:
    from tests.unit.learning.conftest import MemoryRun, NewRun, Saved

EPOCHS = 3
BATCHES = 5  # per epoch, as conftest.QUICK gives


def _disturb_generators() -> None:
    """What a new process has: generators in some other state."""
    reproducible.seed_generators(int.from_bytes(os.urandom(4)))


def _resumed(new_run: NewRun, params: Any, saved: Saved, **options: Any) -> MemoryRun:
    _disturb_generators()
    return new_run(params, resume=saved, **options)


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_resumed_from_any_epoch(new_run: NewRun, quick_run: MemoryRun, epoch: int) -> None:
    run = _resumed(new_run, quick_run.params, quick_run.checkpoints[epoch - 1])
    train(run)
    assert run.files() == quick_run.files()
    assert run.history() == quick_run.history()[epoch:]
    assert [saved.step for saved in run.checkpoints] == [saved.step for saved in quick_run.checkpoints[epoch:]]
    for saved, undisturbed in zip(run.checkpoints, quick_run.checkpoints[epoch:], strict=True):
        tensors = "state.safetensors"
        assert (saved.folder / tensors).read_bytes() == (undisturbed.folder / tensors).read_bytes()


@pytest.mark.parametrize("batch", range(1, EPOCHS * BATCHES))
def test_stopped_after_any_batch_and_resumed(new_run: NewRun, quick_run: MemoryRun, batch: int) -> None:
    # One look at `stopping` after each batch and one after each epoch.
    first = new_run(quick_run.params, stop_at=batch + (batch - 1) // BATCHES)
    with pytest.raises(Interrupted):
        train(first)
    assert first.checkpoints[-1].step == batch
    assert not first.output_dir.exists()
    second = _resumed(new_run, quick_run.params, first.checkpoints[-1])
    train(second)
    assert second.files() == quick_run.files()
    assert first.history() + second.history() == quick_run.history()


def test_stopped_after_every_single_batch(new_run: NewRun, quick_run: MemoryRun) -> None:
    history: list[Any] = []
    steps: list[int] = []
    run = new_run(quick_run.params, stop_at=1)
    interruptions = 0
    while not run.output_dir.exists():
        try:
            train(run)
        except Interrupted:
            interruptions += 1
            following = _resumed(new_run, quick_run.params, run.checkpoints[-1], stop_at=1)
        history += run.history()
        steps += [saved.step for saved in run.checkpoints]
        last, run = run, following if not run.output_dir.exists() else run
    assert interruptions == EPOCHS * BATCHES - 1
    assert last.files() == quick_run.files()
    assert history == quick_run.history()
    assert steps == list(range(1, EPOCHS * BATCHES + 1))


def test_a_checkpoint_that_is_wanted_is_taken_after_the_batch_and_disturbs_nothing(
    new_run: NewRun, quick_run: MemoryRun
) -> None:
    run = new_run(quick_run.params, wanted_at=BATCHES + 3)  # in the second epoch, after its second batch
    train(run)
    wanted = BATCHES + 2
    assert [saved.step for saved in run.checkpoints] == [BATCHES, wanted, 2 * BATCHES, EPOCHS * BATCHES]
    assert run.files() == quick_run.files()
    second = _resumed(new_run, quick_run.params, run.checkpoints[1])
    train(second)
    assert second.files() == quick_run.files()


def test_stopping_at_the_very_end_does_not_throw_the_result_away(new_run: NewRun, quick_run: MemoryRun) -> None:
    run = new_run(quick_run.params, stop_at=EPOCHS * BATCHES + EPOCHS - 1)  # the look after the last batch
    train(run)
    assert run.files() == quick_run.files()


def test_patience_is_remembered(new_run: NewRun) -> None:
    params = {"epochs": 50, "patience": 2, "batch_size": 256, "lr": 0.02}
    undisturbed = new_run(params)
    train(undisturbed)
    assert len(undisturbed.checkpoints) < 50
    for saved in undisturbed.checkpoints[-3:]:
        run = _resumed(new_run, params, saved)
        train(run)
        assert run.files() == undisturbed.files()


def test_another_process_with_other_hashes_and_threads_agrees(quick_run: MemoryRun, tmp_path: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from workers.workloads.image_classifier import run
output, resume, params = sys.argv[1:]
run(SimpleNamespace(
    params=json.loads(params), dataset="builtin://digits", output_dir=Path(output), resume_dir=Path(resume),
    scratch_dir=Path(output).parent,
    stopping=False, checkpoint_wanted=False, log_metrics=lambda *_, **__: None, progress=lambda *_: None,
    checkpoint=lambda *_, **__: None))
"""
    resume = str(quick_run.checkpoints[0].folder)
    arguments = [sys.executable, "-c", program, str(tmp_path / "output"), resume, json.dumps(dict(quick_run.params))]
    # More threads than here, whatever the machine has.
    environment = os.environ | {"PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": str(torch.get_num_threads() + 1)}
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()} == quick_run.files()


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    def draw() -> list[Any]:
        return [random.random(), random.gauss(), np.random.rand(), np.random.randn(), torch.rand(1).item()]

    reproducible.seed_generators(3)
    draw()
    checkpoint.save(reproducible.generator_states(), tmp_path)
    expected = draw()
    _disturb_generators()
    assert draw() != expected
    reproducible.restore_generators(checkpoint.load(tmp_path))
    assert draw() == expected


def test_a_checkpoint_of_other_parameters_is_refused(new_run: NewRun, quick_run: MemoryRun) -> None:
    run = new_run(dict(quick_run.params) | {"lr": 1e-4}, resume=quick_run.checkpoints[0])
    with pytest.raises(InvalidCheckpoint, match="another training: params differ"):
        train(run)
    assert run.logged == []


def test_a_tree_survives_exactly(tmp_path: Path) -> None:
    tree = {
        "numbers": [0.1, 1e-320, 2**80, -0.0, True, None],
        "nested": {"text": "ü", "empty": {}, "none": []},
        "tensors": [torch.tensor([float("nan"), 1e-45]), {"deep": torch.arange(3, dtype=torch.uint8)}],
        "scalar": torch.tensor(1.5),
    }
    checkpoint.save(tree, tmp_path)
    back = checkpoint.load(tmp_path)
    assert back.keys() == tree.keys()
    assert repr(back["numbers"]) == repr(tree["numbers"])
    assert back["nested"] == tree["nested"]
    assert back["tensors"][0].view(torch.int32).tolist() == tree["tensors"][0].view(torch.int32).tolist()  # type: ignore[index]
    assert back["tensors"][1]["deep"].dtype == torch.uint8
    assert back["scalar"].shape == ()


@pytest.mark.parametrize(
    "state", [{"number": object()}, {("key",): {1}}, {"array": np.zeros(2)}, {"deep": [{"set": {1}}]}]
)
def test_what_a_checkpoint_cannot_hold_is_refused(tmp_path: Path, state: Any) -> None:
    with pytest.raises(TypeError):
        checkpoint.save(state, tmp_path)


def _without_a_file(folder: Path) -> None:
    (folder / "state.safetensors").unlink()


def _cut_json(folder: Path) -> None:
    path = folder / "state.json"
    path.write_bytes(path.read_bytes()[:-1])


def _cut_tensors(folder: Path) -> None:
    path = folder / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _next_version(folder: Path) -> None:
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": checkpoint.VERSION + 1}))


def _without_a_part(folder: Path) -> None:
    path = folder / "state.json"
    document = json.loads(path.read_text())
    del document["state"]["schedule"]
    path.write_text(json.dumps(document))


def _no_object(folder: Path) -> None:
    (folder / "state.json").write_text("[]")


@pytest.mark.parametrize(
    "damage", [_without_a_file, _cut_json, _cut_tensors, _next_version, _without_a_part, _no_object]
)
def test_a_damaged_checkpoint_is_refused(new_run: NewRun, quick_run: MemoryRun, tmp_path: Path, damage: Any) -> None:
    whole = quick_run.checkpoints[1]
    for path in whole.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(InvalidCheckpoint):
        train(new_run(quick_run.params, resume=type(whole)(whole.step, tmp_path)))
