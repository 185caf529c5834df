"""Using a trained classifier, and refusing what is not one."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.artifact import Manifest
from orchestrator.domain.errors import CorruptArtifact
from workers.learning.classifier import Classifier, load_classifier
from workers.learning.data import load_digits, stratified_split
from workers.learning.errors import InvalidImages, InvalidModel
from workers.learning.model_files import digest, encode_weights

if TYPE_CHECKING:
    from tests.unit.learning.conftest import MemoryRun

DATASET = load_digits()
TEST = stratified_split(DATASET.labels, seed=0).test


@pytest.fixture(scope="module")
def classifier(default_run: MemoryRun) -> Classifier:
    return load_classifier(default_run.output_dir)


@pytest.fixture
def folder(quick_run: MemoryRun, tmp_path: Path) -> Path:
    """A copy of a model, to be damaged."""
    return Path(shutil.copytree(quick_run.output_dir, tmp_path / "model"))


def test_it_predicts_what_the_training_measured(classifier: Classifier, default_run: MemoryRun) -> None:
    predictions = classifier.predict(DATASET.images[TEST])
    correct = [
        int(prediction.label) == label for prediction, label in zip(predictions, DATASET.labels[TEST], strict=True)
    ]
    assert np.mean(correct) == default_run.logged[-1][1]["test/accuracy"]


def test_probabilities_sum_to_one_and_the_label_has_the_greatest(classifier: Classifier) -> None:
    for prediction in classifier.predict(DATASET.images[:20]):
        assert list(prediction.probabilities) == list(classifier.labels)
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probability == max(prediction.probabilities.values())
        assert prediction.probabilities[prediction.label] == prediction.probability


def test_one_image_a_list_and_none(classifier: Classifier) -> None:
    (one,) = classifier.predict(DATASET.images[0])
    (listed,) = classifier.predict([DATASET.images[0].tolist()])
    assert one == listed
    assert one.label == "0"
    assert classifier.predict(np.zeros((0, 8, 8))) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 64)), r"shape \[2, 64\]"),
        (np.zeros((1, 1, 8, 8)), r"shape \[1, 1, 8, 8\]"),
        ([[1, 2], [3]], "regular array"),
        ("seven", "regular array"),
        (np.full((8, 8), 255), "from 0 to 16"),
        (np.full((8, 8), -1), "from 0 to 16"),
        (np.full((8, 8), np.nan), "from 0 to 16"),
    ],
)
def test_images_it_cannot_judge_are_refused(classifier: Classifier, images: Any, message: str) -> None:
    with pytest.raises(InvalidImages, match=message):
        classifier.predict(images)


def test_a_downloaded_model_may_have_its_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(Manifest.of([]).to_bytes())
    assert load_classifier(folder).labels == tuple("0123456789")


def _torch_pickle() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "pytorch_model.bin", "last.ckpt"])
def test_a_pickle_by_its_name_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"whatever")
    with pytest.raises(InvalidModel, match=f"{name} is a pickle"):
        load_classifier(folder)


@pytest.mark.parametrize("content", [_torch_pickle(), b"\x80\x04N."], ids=["zip", "plain"])
def test_a_pickle_by_its_content_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InvalidModel, match="is a pickle"):
        load_classifier(folder)


def _edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _write_weights(folder: Path, data: bytes) -> None:
    """Weights whose digest is right."""
    (folder / "model.safetensors").write_bytes(data)
    _edit_config(folder, weights_sha256=digest(data))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "no folder with a model"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"lacks model\.safetensors"),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"lacks config\.json"),
    "a stranger": (lambda folder: (folder / "setup.py").write_text(""), r"setup\.py is not part"),
    "a folder": (lambda folder: (folder / "code").mkdir(), "code is not part"),
    "not JSON": (lambda folder: (folder / "config.json").write_text("{"), "document: invalid JSON"),
    "a later version": (lambda folder: _edit_config(folder, version=2), "version: '?2'? is not one of 1"),
    "another format": (lambda folder: _edit_config(folder, format="onnx"), "format: 'onnx' is not one of"),
    "an unknown field": (lambda folder: _edit_config(folder, code="import os"), "code: unknown field"),
    "too few labels": (lambda folder: _edit_config(folder, labels=["a", "b"]), "2 labels for 10 classes"),
    "a huge network": (
        lambda folder: _edit_config(folder, architecture={"height": 8, "width": 8, "classes": 10, "channels": 10**9}),
        "architecture.channels",
    ),
    "another shape": (
        lambda folder: _edit_config(folder, architecture={"height": 8, "width": 8, "classes": 10, "channels": 16}),
        "does not fit the architecture",
    ),
    "no tensors": (lambda folder: _write_weights(folder, b"{}"), "does not fit the architecture"),
    "other tensors": (
        lambda folder: _write_weights(folder, encode_weights({"a": torch.zeros(1)})),
        "does not fit the architecture",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_not_a_classifier_is_refused(folder: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(folder)
    with pytest.raises(InvalidModel, match=message):
        load_classifier(folder)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_in_the_weights_is_seen(folder: Path, data: st.DataObject) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    path.write_bytes(flipped)
    try:
        with pytest.raises((CorruptArtifact, InvalidModel)):
            load_classifier(folder)
    finally:
        path.write_bytes(whole)
