"""From a dataset and parameters to the files of a trained classifier."""

from __future__ import annotations

import sys

import torch

from orchestrator.domain.run import Run
from orchestrator.domain.workloads import ImageClassifierParams
from workers.learning import checkpoint, reproducible
from workers.learning.batches import Batches, LabelledImages
from workers.learning.data import ImageDataset, Normalisation, Split, stratified_split
from workers.learning.evaluate import evaluate
from workers.learning.loop import fit
from workers.learning.model import Architecture, pick_device
from workers.learning.model_files import ClassifierConfig, digest, encode_weights, write_model
from workers.learning.trainer import Trainer


def train_classifier(dataset: ImageDataset, params: ImageClassifierParams, run: Run) -> None:
    """Train on the dataset's training part, keep the best epoch, test it once, and write it to `run.output_dir`.

    Goes on from `run.resume_dir` when there is one; the result is then the same, bit for bit, as without the break.
    Raises Interrupted when the run is stopping, TrainingDiverged when the loss is not finite, and InvalidCheckpoint
    when the checkpoint is damaged or belongs to another training.
    """
    with reproducible.deterministic():
        device = pick_device()
        split = stratified_split(dataset.labels, params.split_seed)
        normalisation = Normalisation.of(dataset.images[split.train])
        batches = Batches(LabelledImages.of(dataset, split.train), normalisation, params, device)
        trainer = Trainer(
            _architecture_for(dataset),
            params,
            batches_per_epoch=len(batches),
            device=device,
            origin={"dataset": dataset.sha256},
        )
        _announce(dataset, split, device)
        _resume(trainer, run)
        validation, test = (
            LabelledImages.of(dataset, rows).normalised(normalisation).to(device)
            for rows in (split.validation, split.test)
        )
        fit(trainer, batches, validation, run)
        trainer.model.load_state_dict(trainer.best_weights)
        _finish(trainer, dataset, normalisation, params, run, parts={"val": validation, "test": test})


def _architecture_for(dataset: ImageDataset) -> Architecture:
    height, width = dataset.images.shape[1:]
    return Architecture(height=height, width=width, classes=len(dataset.label_names))


def _announce(dataset: ImageDataset, split: Split, device: torch.device) -> None:
    parts = (
        f"{len(split.train)} images for training, {len(split.validation)} for validation, {len(split.test)} for test"
    )
    sys.stdout.write(f"{dataset.uri}: {parts}; device {device}\n")


def _resume(trainer: Trainer, run: Run) -> None:
    if run.resume_dir is None:
        return
    trainer.load_state_dict(checkpoint.load(run.resume_dir))
    position = trainer.position
    sys.stdout.write(f"resuming after epoch {position.epoch} and {position.batch} batches of the next\n")


def _finish(
    trainer: Trainer,
    dataset: ImageDataset,
    normalisation: Normalisation,
    params: ImageClassifierParams,
    run: Run,
    *,
    parts: dict[str, LabelledImages],
) -> None:
    """Evaluate the best weights, log what they do on the test images, and write the model's files."""
    results = {
        name: evaluate(trainer.model, data, label_smoothing=params.label_smoothing) for name, data in parts.items()
    }
    matrix = results["test"].matrix
    epochs, best = trainer.position.epoch, trainer.early_stopping.best_epoch
    run.log_metrics(results["test"].metrics("test"), step=epochs)
    sys.stdout.write(f"best epoch {best} of {epochs}: test accuracy {matrix.accuracy:.4f}\n")
    sys.stdout.write(f"{matrix.as_text(dataset.label_names)}\n")
    weights = encode_weights(trainer.best_weights)
    write_model(
        run.output_dir,
        weights=weights,
        config=ClassifierConfig(
            architecture=_architecture_for(dataset),
            labels=dataset.label_names,
            normalisation=normalisation,
            pixel_range=dataset.pixel_range,
            params=params.model_dump(),
            dataset=dataset.uri,
            dataset_sha256=dataset.sha256,
            weights_sha256=digest(weights),
        ),
        metrics={
            **results["val"].metrics("val"),
            **results["test"].metrics("test"),
            "best_epoch": best,
            "epochs": epochs,
        },
        matrix=matrix.as_dict(dataset.label_names),
    )
    run.progress(1.0, f"test accuracy {matrix.accuracy:.4f}")
