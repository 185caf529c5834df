"""Tables in windows of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.cli.output import table

TITLES = ("ID", "NAME", "STATE", "MESSAGE")
ROWS = [(f"j-7f3k1a2b{number}", "a-rather-long-name", "SUCCEEDED", "Done after a while.") for number in range(3)]


def _drawn(width: int) -> list[str]:
    screen = Console(file=io.StringIO(), width=width, color_system=None)
    with screen.capture() as drawn:
        screen.print(table(TITLES, ROWS))
    return drawn.get().splitlines()


@pytest.mark.parametrize("width", [12, 20, 30, 40, 60, 80, 200])
def test_ids_are_whole_however_narrow_the_window_is(width: int) -> None:
    lines = _drawn(width)
    assert [line.split()[0] for line in lines] == ["ID", *(row[0] for row in ROWS)]
    assert all(len(line) <= width for line in lines)


def test_what_does_not_fit_is_seen_to_be_cut() -> None:
    assert all("…" in line for line in _drawn(40)[1:])
    assert not any("…" in line for line in _drawn(200))


def test_no_rows_are_the_titles_alone() -> None:
    screen = Console(file=io.StringIO(), width=80)
    with screen.capture() as drawn:
        screen.print(table(TITLES, []))
    assert drawn.get().split() == list(TITLES)
