"""Figures and how they are printed: what was measured, against what, and the aim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result. `ratio` is to the peer or limit that the same run has measured."""

    what: str
    value: str
    against: str = ""
    ratio: float | None = None
    aim: str = ""
    met: bool | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def show(figures: Sequence[Figure]) -> None:
    """Print a table on stdout."""
    table = Table(title="Neutrino, measured in one run", title_justify="left")
    for column in ("what", "value", "against", "ratio", "aim", ""):
        table.add_column(column, justify="right" if column in {"value", "ratio"} else "left")
    marks = {True: "✓", False: "✗", None: ""}
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        table.add_row(one.what, one.value, one.against, ratio, one.aim, marks[one.met])
    Console(width=140).print(table)
