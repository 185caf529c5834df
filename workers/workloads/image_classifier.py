"""The workload `image-classifier`: a small convolutional network learns to tell images apart."""

from __future__ import annotations

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.run import Run
from orchestrator.domain.workloads import ImageClassifierParams, check_workload

NAME = "image-classifier"


def run(run: Run) -> None:
    """Train as the run's parameters say on the run's dataset; the model's files go to its output folder.

    Raises InvalidSpec when the parameters or the dataset are refused, and what `train_classifier` raises.
    """
    if faults := check_workload(NAME, run.params, run.dataset):
        raise InvalidSpec.of(faults)
    params = ImageClassifierParams.model_validate(dict(run.params))

    # Not before: torch takes a second and a half to import, and a refusal should not wait for it.
    from workers.learning.data import DATASETS  # noqa: PLC0415
    from workers.learning.train import train_classifier  # noqa: PLC0415

    assert run.dataset is not None  # check_workload refuses its absence
    train_classifier(DATASETS[run.dataset](), params, run)
