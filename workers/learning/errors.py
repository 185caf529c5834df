"""What can go wrong while learning, as typed errors with a way out."""

from __future__ import annotations

from orchestrator.domain.errors import NeutrinoError


class DatasetUnavailable(NeutrinoError):
    """The dataset is known, but its files are not on this machine."""

    code = "dataset_unavailable"
    status = 424


class TrainingDiverged(NeutrinoError):
    """The loss is no longer a finite number, so no further update can improve the model."""

    code = "training_diverged"
    status = 422


class InvalidCheckpoint(NeutrinoError):
    """A checkpoint that cannot be resumed: damaged, or taken by a training with other parameters or data."""

    code = "invalid_checkpoint"
    status = 422


class InvalidModel(NeutrinoError):
    """A folder that does not hold a classifier we are willing to load."""

    code = "invalid_model"
    status = 422


class InvalidImages(NeutrinoError):
    """Images of the wrong shape, type or range were given to a classifier."""

    code = "invalid_images"
    status = 422
    exit_code = 5
