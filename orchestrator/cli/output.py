"""What the CLI writes: data to standard output in the format asked for, everything for people to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from orchestrator.domain.state import JobState

_UNLIMITED = 10_000  # columns when nobody looks: `| grep` must find what a narrow window would hide


class Format(StrEnum):
    """How to print data."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print it.")]


class ReaderGone(Exception):
    """Whoever read our output has closed it, as `head` does."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title and how an item's cell is made. Wide ones show with `-o wide` only."""

    title: str
    cell: Callable[[Any], str | Text]
    wide: bool = False


def emit(
    items: Iterable[Any], columns: Sequence[Column], output: Format, *, name: str = "id", fold: bool = False
) -> None:
    """Print a list. `name` is the field that `-o name` prints; with `fold`, a long last column goes on in the next
    line."""
    if output is Format.NAME:
        for item in items:
            write(f"{getattr(item, name)}\n")
    elif output in {Format.JSON, Format.YAML}:
        emit_data([plain(item) for item in items], output)
    else:
        shown = [column for column in columns if output is Format.WIDE or not column.wide]
        rows = ([column.cell(item) for column in shown] for item in items)
        titles = [column.title for column in shown]
        draw(table(titles, rows, fold=fold), whole=output is Format.WIDE)


def emit_one(thing: Any, output: Format, *, name: str | None = None) -> bool:
    """Print one thing as programs want it: its data, or the field that `-o name` prints. False, and nothing printed,
    when it is a person who reads."""
    if output in {Format.JSON, Format.YAML}:
        emit_data(plain(thing), output)
    elif output is Format.NAME and name is not None:
        write(f"{getattr(thing, name)}\n")
    else:
        return False
    return True


def emit_data(data: Any, output: Format) -> None:
    """Print plain data as JSON or YAML."""
    if output is Format.YAML:
        from orchestrator.domain.yaml import dump

        write(dump(data))
    else:
        write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def plain(item: Any) -> Any:
    """A view as JSON data."""
    return item.model_dump(mode="json") if hasattr(item, "model_dump") else item


def table(titles: Sequence[str], rows: Iterable[Sequence[str | Text]], *, fold: bool = False) -> RenderableType:
    """Rows in aligned columns without lines; where they do not fit, the last column ends in an ellipsis, or folds, then
    the others do. The first column, which tells what a row is, is never cut: a command may be wanted for it."""
    from rich.cells import cell_len
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold", show_header=any(titles))
    cells = [[safe(cell, fold=fold) if isinstance(cell, str) else cell for cell in row] for row in rows]
    first = max((cell_len(str(cell)) for cell in [titles[0], *(row[0] for row in cells)]), default=0)
    for index, title in enumerate(titles):
        # rich narrows columns that may wrap first; unless it is to fold, the text in one ends in an ellipsis instead.
        least = first if index == 0 else None
        drawn.add_column(title, no_wrap=index < len(titles) - 1, overflow="ellipsis", min_width=least)
    for row in cells:
        drawn.add_row(*row)
    return drawn


def safe(text: str, *, fold: bool = False) -> Text:
    """Text of users and jobs on one line, in which no control character can move the cursor or change colours."""
    from rich.text import Text

    clean = "".join(char if char.isprintable() else " " for char in text)
    return Text(clean, no_wrap=None if fold else True, overflow="fold" if fold else "ellipsis")


def draw(what: RenderableType, *, whole: bool = False) -> None:
    """Print something that rich can lay out, within the terminal's width unless the `whole` of it is wanted."""
    screen = console(sys.stdout)
    if whole:
        screen.width = _UNLIMITED
    with screen.capture() as drawn:
        screen.print(what)
    text = drawn.get()
    write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def write(text: str) -> None:
    """Write data to standard output. Raises ReaderGone when nobody reads it any more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def note(text: str, *, style: str = "") -> None:
    """Tell a person something: on standard error, in a colour where that is wanted."""
    screen = console(sys.stderr)
    from rich.text import Text

    screen.print(Text(text, style=style), soft_wrap=True)


def complain(what: str, hint: str | None) -> None:
    """Say what went wrong, and what to do next: on standard error."""
    note(f"Error: {what}", style="red")
    if hint:
        note(f"Hint: {hint}")


def colourful(stream: IO[str]) -> bool:
    """Whether colours and moving text may be written to a stream."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def console(stream: IO[str]) -> Console:
    """A rich console that writes no escape sequence unless the stream is a terminal that may have colours."""
    from rich.console import Console

    if colourful(stream):
        return Console(file=stream, highlight=False, soft_wrap=False)
    width = None if stream.isatty() else _UNLIMITED
    return Console(file=stream, highlight=False, color_system=None, force_terminal=False, width=width)


def state_cell(state: JobState) -> Text:
    """A job's state as icon, word and colour."""
    from rich.text import Text

    from orchestrator.sdk.progress import LOOK

    icon, colour = LOOK[state]
    return Text(f"{icon} {state}", style=colour)


def ago(at: datetime | None) -> str:
    """How long ago something was: `42s`, `3h`; nothing when it has not been."""
    return "" if at is None else duration((datetime.now(UTC) - at).total_seconds())


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `42s`, `3m05s`, `2h10m`, `5d4h`."""
    whole = max(0, int(seconds))
    for unit, letter, smaller, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit}{letter}" + (f"{rest:02d}{small}" if rest else "")
    return f"{whole}s"


def size(amount: float) -> str:
    """Bytes as people read them: `1.4 MiB`."""
    from orchestrator.domain.quantities import format_bytes

    return format_bytes(amount)
