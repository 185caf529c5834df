"""Our scores against those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from workers.learning.metrics import ConfusionMatrix

CLASSES = 5
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=200)


@given(PAIRS)
def test_scores_equal_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    true, predicted = zip(*pairs, strict=True)
    matrix = ConfusionMatrix.of(true, predicted, classes=CLASSES)
    labels = list(range(CLASSES))
    assert np.array_equal(matrix.counts, reference.confusion_matrix(true, predicted, labels=labels))
    precision, recall, f1, support = reference.precision_recall_fscore_support(
        true, predicted, labels=labels, zero_division=0
    )
    np.testing.assert_allclose(matrix.precision, precision, rtol=1e-12)
    np.testing.assert_allclose(matrix.recall, recall, rtol=1e-12)
    np.testing.assert_allclose(matrix.f1, f1, rtol=1e-12)
    assert matrix.counts.sum(axis=1).tolist() == support.tolist()
    assert matrix.scores() == pytest.approx(
        {
            "accuracy": reference.accuracy_score(true, predicted),
            "precision": precision.mean(),
            "recall": recall.mean(),
            "f1": reference.f1_score(true, predicted, labels=labels, average="macro", zero_division=0),
        },
        rel=1e-12,
    )


def test_a_matrix_worked_out_by_hand() -> None:
    matrix = ConfusionMatrix.of([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 1], classes=3)
    assert matrix.counts.tolist() == [[2, 1, 0], [0, 1, 1], [0, 1, 0]]
    assert matrix.accuracy == 0.5
    assert matrix.precision.tolist() == [1, 1 / 3, 0]
    assert matrix.recall.tolist() == [2 / 3, 1 / 2, 0]
    assert matrix.f1.tolist() == [0.8, 0.4, 0]
    document = matrix.as_dict(["cat", "dog", "cow"])
    assert document["classes"]["dog"] == {"precision": 1 / 3, "recall": 0.5, "f1": 0.4, "support": 2}
    assert matrix.as_text(["cat", "dog", "cow"]).splitlines() == [
        "true \\ predicted  cat  dog  cow  recall",
        "             cat    2    1    .   0.667",
        "             dog    .    1    1   0.500",
        "             cow    .    1    .   0.000",
    ]


@pytest.mark.parametrize(("true", "predicted"), [([], []), ([0], [0, 1]), ([0], [2]), ([-1], [0]), ([[0]], [[0]])])
def test_what_cannot_be_counted_is_refused(true: list[int], predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"prediction|indices"):
        ConfusionMatrix.of(true, predicted, classes=2)
