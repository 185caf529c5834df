"""The workloads that come with Neutrino, as data: their parameters, the datasets they take, their purpose.

The control plane checks a job against this table before anything is stored, so nothing here imports the code
that does the work. Adding a workload means a `Params` class and a line in `WORKLOADS`; its code is found by
its name in the entry points `neutrino.workloads`.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, ValidationError, field_validator

from orchestrator.domain.errors import FieldError, nearest
from orchestrator.domain.faults import field_errors
from orchestrator.domain.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DIGITS = "builtin://digits"
MAX_SEED = 2**32 - 1


class Params(Model):
    """The parameters of one workload.

    Unlike the fields of a spec they keep their Python spelling in a document too: they are handed to code as
    they are. A number may be written as text, because YAML reads `1e-3` as text; a truth value is no number.
    """

    model_config = ConfigDict(alias_generator=None)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("a number is needed, not true or false")
        return value


class ImageClassifierParams(Params):
    """How `image-classifier` trains. The defaults reach 0.985 test accuracy on the digits in seconds."""

    epochs: int = Field(default=24, ge=1, le=10_000, description="largest number of passes over the training images")
    lr: float = Field(default=3e-3, gt=0, le=1, description="peak of the learning rate")
    batch_size: int = Field(default=64, ge=1, le=4096, description="number of images per update of the weights")
    weight_decay: float = Field(default=1e-2, ge=0, le=1, description="decoupled weight decay of AdamW")
    label_smoothing: float = Field(
        default=0.1, ge=0, lt=1, description="share of a label's weight that is spread over all classes"
    )
    augment: float = Field(
        default=1.0, ge=0, le=3, description="strength of the random distortion of training images, 0 for none"
    )
    patience: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="number of epochs without a better validation loss after which training stops",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=MAX_SEED,
        description="seed of the initial weights and of the order and distortion of the images",
    )
    split_seed: int = Field(
        default=0, ge=0, le=MAX_SEED, description="seed of the split into training, validation and test images"
    )


@dataclass(frozen=True, slots=True)
class WorkloadInfo:
    """What the control plane knows of a workload. It needs a dataset, one of the URIs in `datasets`."""

    name: str
    description: str
    params: type[Params]
    datasets: tuple[str, ...]


WORKLOADS: Mapping[str, WorkloadInfo] = MappingProxyType(
    {
        info.name: info
        for info in (
            WorkloadInfo(
                name="image-classifier",
                description="Train a small convolutional network to tell images of a few classes apart.",
                params=ImageClassifierParams,
                datasets=(DIGITS,),
            ),
        )
    }
)


def check_workload(workload: str, params: Mapping[str, Any], dataset: str | None) -> list[FieldError]:
    """Every fault of a job's workload, parameters and dataset, with paths below `spec`."""
    info = WORKLOADS.get(workload)
    if info is None:
        return [
            FieldError(
                "spec.workload",
                f"there is no workload {reprlib.repr(workload)}.",
                _suggest(workload, WORKLOADS, "Workloads"),
            )
        ]
    return [*_dataset_faults(info, dataset), *_param_faults(info, params)]


def _dataset_faults(info: WorkloadInfo, dataset: str | None) -> list[FieldError]:
    if dataset in info.datasets:
        return []
    if dataset is None:
        hint = f"Name one of: {', '.join(info.datasets)}."
        return [FieldError("spec.dataset", f"{info.name} needs a dataset.", hint)]
    hint = _suggest(dataset, info.datasets, "Datasets")
    return [FieldError("spec.dataset", f"{info.name} does not take the dataset {reprlib.repr(dataset)}.", hint)]


def _param_faults(info: WorkloadInfo, params: Mapping[str, Any]) -> list[FieldError]:
    try:
        info.params.model_validate(dict(params))
    except ValidationError as error:
        return [_fault(info.params, fault) for fault in field_errors(error.errors(include_url=False), info.params)]
    return []


def _fault(params: type[Params], fault: FieldError) -> FieldError:
    """A fault of a parameter as one of the document, with what the parameter means as the hint."""
    name = re.split(r"[.\[]", fault.path, maxsplit=1)[0]
    path = f"spec.params.{fault.path}"
    if name in params.model_fields:
        return FieldError(path, f"{fault.message}.", f"It is the {params.model_fields[name].description}.")
    return FieldError(
        path, f"unknown parameter {reprlib.repr(name)}.", _suggest(name, params.model_fields, "Parameters")
    )


def _suggest(name: str, choices: Iterable[str], plural: str) -> str:
    """The nearest choice if one is near, otherwise all of them."""
    close = nearest(name, choices)
    return f"Did you mean {close!r}?" if close else f"{plural}: {', '.join(choices)}."
