"""Small drawings that are part of the page: no script is needed to see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.store.history import Span
from orchestrator.store.plots import Curve

_LEAST = 0.6
"""Percent of the width that even the shortest stretch of time has."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the timeline: where it begins and how wide it is, in percent."""

    span: Span
    left: float
    width: float


def bands(spans: Sequence[Span]) -> list[Band]:
    """The timeline of a job; the shortest stretches are drawn wider than they are, so that one sees them."""
    lasting = [span for span in spans if span.seconds > 0]
    whole = sum(span.seconds for span in lasting) or 1.0
    widths = [max(span.seconds / whole * 100, _LEAST) for span in lasting]
    scale, left, found = 100 / (sum(widths) or 1.0), 0.0, list[Band]()
    for span, width in zip(lasting, widths, strict=True):
        found.append(Band(span, round(left, 3), round(width * scale, 3)))
        left += width * scale
    return found


def sparkline(curve: Curve, width: int = 120, height: int = 24) -> str:
    """The points of a polyline."""
    points = [(step, value) for step, value in zip(curve.steps, curve.values, strict=True) if value is not None]
    if len(points) < 2:
        return ""
    lowest, highest = min(value for _, value in points), max(value for _, value in points)
    first, span, rise = points[0][0], points[-1][0] - points[0][0] or 1, highest - lowest or 1.0
    return " ".join(
        f"{(step - first) / span * width:.1f},{height - 1 - (value - lowest) / rise * (height - 2):.1f}"
        for step, value in points
    )
