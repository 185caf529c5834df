"""Single examples of the datasets that come with Neutrino, to try a model with."""

from __future__ import annotations

from typing import TypedDict

from orchestrator.domain.errors import NeutrinoError, NotFound

DATASETS = ("digits",)


class Sample(TypedDict):
    """One image as rows of pixels from 0 to 16, and what it shows."""

    image: list[list[float]]
    label: int


def sample(dataset: str, index: int = 0) -> Sample:
    """One example of a dataset, as plain data: `nu.sample("digits")` is an 8 by 8 image of scikit-learn's
    digits.

    Raises NotFound for an unknown dataset or index, NeutrinoError when scikit-learn is not installed.
    """
    if dataset not in DATASETS:
        raise NotFound(f"There is no dataset {dataset!r}.", hint=f"Datasets: {', '.join(DATASETS)}.")
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        hint = "Install it with `pip install 'neutrino-ai[learn]'`."
        raise NeutrinoError("The digits come with scikit-learn, which is not installed.", hint=hint) from None
    digits = load_digits()
    if not 0 <= index < len(digits.images):
        raise NotFound(f"digits has no example {index}.", hint=f"Examples: 0 to {len(digits.images) - 1}.")
    return Sample(image=digits.images[index].tolist(), label=int(digits.target[index]))
