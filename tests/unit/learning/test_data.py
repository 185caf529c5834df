"""The dataset, its split, and the order and distortion of its images."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits as sklearn_digits

from orchestrator.domain.workloads import ImageClassifierParams
from workers.learning.augment import warp
from workers.learning.batches import Batches, LabelledImages
from workers.learning.data import Normalisation, load_digits, stratified_split
from workers.learning.errors import DatasetUnavailable

DATASET = load_digits()


def test_the_digits_are_those_of_scikit_learn() -> None:
    reference = sklearn_digits()
    assert np.array_equal(DATASET.images, reference.images)
    assert np.array_equal(DATASET.labels, reference.target)
    assert DATASET.label_names == tuple(str(name) for name in reference.target_names)
    assert DATASET.pixel_range == (DATASET.images.min(), DATASET.images.max())


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DatasetUnavailable, match="pip install"):
        load_digits()


@given(seed=st.integers(0, 2**32 - 1))
def test_the_split_is_a_partition_with_equal_shares_of_every_class(seed: int) -> None:
    split = stratified_split(DATASET.labels, seed)
    parts = (split.train, split.validation, split.test)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(DATASET.labels)))
    per_class = np.bincount(DATASET.labels)
    for part, share in zip(parts, (0.65, 0.15, 0.20), strict=True):
        assert np.abs(np.bincount(DATASET.labels[part]) - share * per_class).max() <= 1


def test_the_split_depends_on_its_seed_only() -> None:
    first, again, other = (stratified_split(DATASET.labels, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)


def test_normalised_images_have_zero_mean_and_unit_variance() -> None:
    rows = np.arange(500)
    images = LabelledImages.of(DATASET, rows).normalised(Normalisation.of(DATASET.images[rows])).images.double()
    assert images.mean().item() == pytest.approx(0, abs=1e-6)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def _batches(**params: float) -> Batches:
    data = LabelledImages.of(DATASET, np.arange(100))
    validated = ImageClassifierParams.model_validate({"batch_size": 32} | params)
    return Batches(data, Normalisation(mean=0, std=1), validated, torch.device("cpu"))


def test_an_epoch_shows_every_image_once() -> None:
    batches = _batches(augment=0)
    shown = list(batches.of_epoch(0))
    assert [len(batch) for batch in shown] == [32, 32, 32, 4]
    pixels = torch.cat([batch.images for batch in shown]).flatten(1)
    assert sorted(pixels.tolist()) == sorted(batches.data.images.flatten(1).tolist())


def test_epochs_and_seeds_differ_and_a_later_start_shows_the_same_rest() -> None:
    batches = _batches()
    first = [batch.images for batch in batches.of_epoch(0)]
    rest = [batch.images for batch in batches.of_epoch(0, start=2)]
    assert all(torch.equal(one, other) for one, other in zip(first[2:], rest, strict=True))
    assert not torch.equal(first[0], next(batches.of_epoch(1)).images)
    assert not torch.equal(first[0], next(_batches(seed=1).of_epoch(0)).images)


def test_a_warp_of_no_strength_changes_nothing_and_one_of_full_strength_moves_little() -> None:
    images = LabelledImages.of(DATASET, np.arange(50)).images
    assert torch.equal(warp(images, 0, np.random.default_rng(0)), images)
    warped = warp(images, 1, np.random.default_rng(0))
    assert warped.shape == images.shape
    assert not torch.equal(warped, images)
    assert warped.min() >= 0
    assert warped.max() <= 16
    assert (warped.mean() / images.mean()).item() == pytest.approx(1, abs=0.1)


def test_the_warp_shifts_by_whole_pixels_where_it_should() -> None:
    class Downwards(np.random.Generator):
        """Draws no turn, scale and shear, and a shift of one pixel upwards and to the left."""

        def uniform(self, *_: object, size: tuple[int, int], **__: object) -> np.ndarray:  # type: ignore[override]
            return np.repeat([[0.0], [0.0], [0.0], [1.0], [1.0]], size[1], axis=1)

    images = LabelledImages.of(DATASET, np.arange(3)).images
    moved = warp(images, 1, Downwards(np.random.PCG64(0)))
    torch.testing.assert_close(moved[..., :-1, :-1], images[..., 1:, 1:], atol=1e-4, rtol=0)
    assert moved[..., -1, :].abs().max() < 1e-4
