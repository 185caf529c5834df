"""What a training reaches, says and leaves behind."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.workloads import DIGITS, ImageClassifierParams
from workers.learning import reproducible
from workers.learning.data import Normalisation, load_digits, stratified_split
from workers.learning.early_stopping import EarlyStopping
from workers.learning.errors import TrainingDiverged
from workers.learning.schedule import warm_up_and_cosine
from workers.learning.train import train_classifier
from workers.workloads.image_classifier import run as train

if TYPE_CHECKING:
    from tests.unit.learning.conftest import MemoryRun, NewRun

QUICK_BATCH = 256  # conftest.QUICK


def test_the_defaults_reach_the_promised_accuracy(default_run: MemoryRun) -> None:
    step, final = default_run.logged[-1]
    assert final["test/accuracy"] >= 0.985
    assert step == ImageClassifierParams().epochs


def test_every_epoch_logs_every_metric_at_its_own_step(default_run: MemoryRun) -> None:
    *epochs, (_, final) = default_run.logged
    assert [step for step, _ in epochs] == list(range(1, ImageClassifierParams().epochs + 1))
    scores = ("loss", "accuracy", "precision", "recall", "f1")
    expected = {"train/loss", "lr", "epoch_seconds"} | {f"val/{score}" for score in scores}
    assert all(metrics.keys() == expected for _, metrics in epochs)
    assert final.keys() == {f"test/{score}" for score in scores}
    assert all(math.isfinite(value) for _, metrics in default_run.logged for value in metrics.values())
    assert epochs[-1][1]["train/loss"] < epochs[0][1]["train/loss"]


def test_a_checkpoint_per_epoch_and_progress_to_the_end(default_run: MemoryRun) -> None:
    steps = [saved.step for saved in default_run.checkpoints]
    assert len(steps) == ImageClassifierParams().epochs
    assert all(earlier < later for earlier, later in itertools.pairwise(steps))
    assert default_run.fractions == sorted(default_run.fractions)
    assert default_run.fractions[-1] == 1


def test_checkpoints_hold_no_pickle(quick_run: MemoryRun) -> None:
    for saved in quick_run.checkpoints:
        assert {path.name for path in saved.folder.iterdir()} == {"state.json", "state.safetensors"}


def test_the_files_tell_what_was_measured(default_run: MemoryRun) -> None:
    files = default_run.files()
    assert files.keys() == {"model.safetensors", "config.json", "metrics.json", "confusion_matrix.json"}
    metrics: dict[str, float] = json.loads(files["metrics.json"])
    _, final = default_run.logged[-1]
    assert final.items() <= metrics.items()
    _, best = default_run.logged[int(metrics["best_epoch"]) - 1]
    assert metrics["val/loss"] == best["val/loss"]
    assert metrics["val/loss"] == min(logged["val/loss"] for _, logged in default_run.logged[:-1])
    matrix: dict[str, Any] = json.loads(files["confusion_matrix.json"])
    counts = np.array(matrix["counts"])
    assert np.trace(counts) / counts.sum() == final["test/accuracy"]
    assert np.mean([scores["f1"] for scores in matrix["classes"].values()]) == pytest.approx(final["test/f1"])


def test_nothing_is_learned_from_the_images_that_judge(quick_run: MemoryRun) -> None:
    dataset = load_digits()
    split = stratified_split(dataset.labels, ImageClassifierParams().split_seed)
    config = json.loads(quick_run.files()["config.json"])
    assert config["normalisation"] == Normalisation.of(dataset.images[split.train]).model_dump()
    counts = np.array(json.loads(quick_run.files()["confusion_matrix.json"])["counts"])
    assert counts.sum(axis=1).tolist() == np.bincount(dataset.labels[split.test]).tolist()
    updates = math.ceil(len(split.train) / QUICK_BATCH)
    assert quick_run.checkpoints[0].step == updates


def test_the_log_shows_epochs_and_a_matrix(new_run: NewRun, capsys: pytest.CaptureFixture[str]) -> None:
    train(new_run({"epochs": 1, "batch_size": 512}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "builtin://digits: 1169 images for training, 269 for validation, 359 for test; device"
        f" {'cuda' if torch.cuda.is_available() else 'cpu'}"
    )
    assert lines[1].startswith("epoch 1/1  train loss ")
    assert lines[3].split() == ["true", "\\", "predicted", *"0123456789", "recall"]


def test_patience_ends_a_training_and_the_best_epoch_is_kept(new_run: NewRun) -> None:
    run = new_run({"epochs": 50, "patience": 1, "batch_size": 256, "lr": 0.02})
    train(run)
    *epochs, (last, _) = run.logged
    losses = [metrics["val/loss"] for _, metrics in epochs]
    assert len(losses) < 50
    assert losses[-1] >= losses[-2] == min(losses)
    metrics = json.loads(run.files()["metrics.json"])
    assert (metrics["epochs"], metrics["best_epoch"]) == (last, len(losses) - 1)
    assert metrics["val/loss"] == losses[-2]


@pytest.mark.parametrize(("batch_size", "last_batch"), [(146, 1), (4096, 1169)])
def test_odd_batch_sizes(new_run: NewRun, batch_size: int, last_batch: int) -> None:
    assert 1169 % batch_size == last_batch
    run = new_run({"epochs": 1, "batch_size": batch_size})
    train(run)
    assert run.logged[-1][0] == 1


def test_another_seed_gives_another_model(new_run: NewRun, quick_run: MemoryRun) -> None:
    run = new_run(dict(quick_run.params) | {"seed": 1})
    train(run)
    assert run.files()["model.safetensors"] != quick_run.files()["model.safetensors"]


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(new_run: NewRun) -> None:
    run = new_run({})
    params = ImageClassifierParams(epochs=3).model_copy(update={"lr": 1e30})
    with pytest.raises(TrainingDiverged, match=r"diverged at epoch 1: the loss is nan\. Lower lr, which is 1e\+30"):
        train_classifier(load_digits(), params, run)
    assert run.checkpoints == []
    assert not run.output_dir.exists()


@pytest.mark.parametrize(("params", "dataset"), [({"lr": 7}, DIGITS), ({}, "builtin://nothing"), ({}, None)])
def test_a_bad_spec_is_refused_before_anything_is_done(new_run: NewRun, params: Any, dataset: str | None) -> None:
    run = new_run(params, dataset=dataset)
    with pytest.raises(InvalidSpec):
        train(run)
    assert run.logged == []


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    share = warm_up_and_cosine(100)
    values = [share(update) for update in range(101)]
    peak = values.index(max(values))
    assert peak == 9
    assert values[peak] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.09)))
    assert values[:10] == sorted(values[:10])
    assert values[9:] == sorted(values[9:], reverse=True)
    assert values[100] == pytest.approx(0)
    assert warm_up_and_cosine(1)(0) == 1


def test_patience_counts_from_the_best_epoch() -> None:
    stopping = EarlyStopping(patience=2)
    assert [stopping.observe(epoch, loss) for epoch, loss in enumerate([3.0, 2.0, 2.0], start=1)] == [True, True, False]
    assert not stopping.exhausted
    assert stopping.observe(4, 1.0)
    assert not stopping.observe(5, 1.5)
    assert not stopping.exhausted
    assert not stopping.observe(6, 1.2)
    assert stopping.exhausted
    assert (stopping.best_epoch, stopping.best_loss) == (4, 1.0)


def test_deterministic_settings_end_with_the_block() -> None:
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    seen = []

    def fail_inside() -> None:
        with reproducible.deterministic():
            seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert seen == [(reproducible.THREADS, True)]
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
