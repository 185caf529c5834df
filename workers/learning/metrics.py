"""How good predictions are, computed from a confusion matrix. No torch here.

Formulas: C. Manning, P. Raghavan, H. Schütze, "Introduction to Information Retrieval", 2008, sections 8.3 (precision,
recall, F) and 13.6 (macro-averaging). Macro F1 is the mean of the classes' F1 scores, the first of the two definitions
compared by J. Opitz and S. Burst, "Macro F1 and Macro F1", 2019, https://arxiv.org/abs/1911.03347, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class ConfusionMatrix:
    """`counts[true, predicted]`: how many examples of class `true` were taken for class `predicted`."""

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, true: ArrayLike, predicted: ArrayLike, *, classes: int) -> ConfusionMatrix:
        """Count the pairs of class indices. Raises ValueError when there are none, or one is out of range."""
        rows, columns = np.asarray(true, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
        if rows.shape != columns.shape or rows.ndim != 1 or rows.size == 0:
            raise ValueError(f"one prediction per label is needed: {columns.shape} for {rows.shape}")
        if min(rows.min(), columns.min()) < 0 or max(rows.max(), columns.max()) >= classes:
            raise ValueError(f"class indices go from 0 to {classes - 1}")
        pairs = np.bincount(rows * classes + columns, minlength=classes * classes)
        return cls(pairs.reshape(classes, classes))

    @cached_property
    def accuracy(self) -> float:
        """Correct predictions / all predictions."""
        return float(np.trace(self.counts) / self.counts.sum())

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """Per class: TP / (TP + FP), 0 for a class that was never predicted."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=0))

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """Per class: TP / (TP + FN), 0 for a class without examples."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """Per class: 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall."""
        return _ratio(2 * np.diag(self.counts), self.counts.sum(axis=0) + self.counts.sum(axis=1))

    def scores(self) -> dict[str, float]:
        """Accuracy, and precision, recall and F1 as the plain mean over the classes (macro average)."""
        return {
            "accuracy": self.accuracy,
            "precision": float(self.precision.mean()),
            "recall": float(self.recall.mean()),
            "f1": float(self.f1.mean()),
        }

    def as_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """The matrix and the scores of each class as plain data; `labels` names the classes."""
        columns = (self.precision, self.recall, self.f1, self.counts.sum(axis=1))
        return {
            "labels": list(labels),
            "rows": "true class",
            "columns": "predicted class",
            "counts": self.counts.tolist(),
            "classes": {
                label: dict(zip(("precision", "recall", "f1", "support"), values, strict=True))
                for label, *values in zip(labels, *(column.tolist() for column in columns), strict=True)
            },
        }

    def as_text(self, labels: Sequence[str]) -> str:
        """The matrix as a table for people: true classes down, predicted ones across, a dot for none."""
        cells = [["true \\ predicted", *labels, "recall"]]
        for label, row, recall in zip(labels, self.counts.tolist(), self.recall.tolist(), strict=True):
            cells.append([label, *(str(count) if count else "." for count in row), f"{recall:.3f}"])
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        return "\n".join("  ".join(map(str.rjust, row, widths)) for row in cells)


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
