"""The training loop: epochs of batches, each epoch validated, logged and checkpointed."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from orchestrator.domain.run import Interrupted, Run
from workers.learning import checkpoint
from workers.learning.batches import Batches, LabelledImages
from workers.learning.evaluate import Evaluation, evaluate
from workers.learning.trainer import Trainer


def fit(trainer: Trainer, batches: Batches, validation: LabelledImages, run: Run) -> None:
    """Train until all epochs are done or patience has run out.

    Metrics are logged with the epoch, from 1, as their step; checkpoints are numbered by the updates of the weights,
    because one may be taken within an epoch. An epoch is logged before it is checkpointed: after a crash in between it
    is repeated and logged again with the same values, and nothing is ever missing.

    A checkpoint that somebody wants is taken after the batch; it changes nothing of what follows.
    Raises Interrupted, after a checkpoint, when the run is stopping; TrainingDiverged when a loss is not finite.
    """
    smoothing = batches.params.label_smoothing
    while not trainer.finished:
        _train_epoch(trainer, batches, run)
        evaluation = evaluate(trainer.model, validation, label_smoothing=smoothing)
        _log_epoch(trainer, evaluation, batches.params.epochs, run)
        trainer.end_epoch(evaluation.loss)
        save_checkpoint(trainer, run)
        if run.stopping and not trainer.finished:
            raise Interrupted(f"Stopped after epoch {trainer.position.epoch}.")


def _train_epoch(trainer: Trainer, batches: Batches, run: Run) -> None:
    """The batches of the present epoch that are still to be learned from."""
    position = trainer.position
    started = time.perf_counter() - position.seconds
    for batch in batches.of_epoch(position.epoch, start=position.batch):
        trainer.learn(batch)
        position.seconds = time.perf_counter() - started
        # After an epoch's last batch its end is so near that the checkpoint there will do.
        if run.stopping and position.batch < len(batches):
            save_checkpoint(trainer, run)
            raise Interrupted(f"Stopped in epoch {position.epoch + 1} after batch {position.batch}.")
        if run.checkpoint_wanted and position.batch < len(batches):
            save_checkpoint(trainer, run)


def save_checkpoint(trainer: Trainer, run: Run) -> None:
    """Publish the trainer's state. Returns once it is committed."""
    with tempfile.TemporaryDirectory(prefix="checkpoint-", dir=run.scratch_dir) as folder:
        checkpoint.save(trainer.state_dict(), Path(folder))
        run.checkpoint(folder, step=trainer.updates)


def _log_epoch(trainer: Trainer, evaluation: Evaluation, epochs: int, run: Run) -> None:
    position = trainer.position
    epoch = position.epoch + 1
    metrics = {
        "train/loss": position.mean_loss,
        **evaluation.metrics("val"),
        "lr": trainer.lr,
        "epoch_seconds": position.seconds,
    }
    run.log_metrics(metrics, step=epoch)
    line = (
        f"epoch {epoch:>{len(str(epochs))}}/{epochs}  train loss {position.mean_loss:.4f}"
        f"  val loss {evaluation.loss:.4f}  val accuracy {evaluation.matrix.accuracy:.4f}  {position.seconds:.2f} s"
    )
    sys.stdout.write(f"{line}\n")
    run.progress(epoch / epochs, f"epoch {epoch}/{epochs}, val accuracy {evaluation.matrix.accuracy:.4f}")
