"""`neutrino logs`: the lines of a job, now or as they come."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.arguments import JobId, connect
from orchestrator.cli.output import Format, Output, colourful, emit_data, plain, write

if TYPE_CHECKING:
    from orchestrator.domain.views import LogEntry

# ECMA-48: control sequences (CSI) and operating system commands (OSC); of the former, SGR sets colours.
_ESCAPES = re.compile(r"(\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def logs(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    since: Annotated[str | None, typer.Option("--since", metavar="DURATION", help="Only the last 10m, 2h.")] = None,
    tail: Annotated[
        int | None, typer.Option("--tail", min=1, max=10_000, help="Begin with so many last lines.")
    ] = None,
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Put the time before each line.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Print what a job has written, over all of its attempts."""
    with connect() as client:
        lines = client.jobs.get(job).logs(follow=follow, since=since, tail=tail)
        if output in {Format.JSON, Format.YAML}:
            emit_data([plain(line) for line in lines], output)
            return
        for line in lines:
            write(render(line, timestamps=timestamps))


def render(line: LogEntry, *, timestamps: bool = False) -> str:
    """A line as it was written; on a terminal without the control characters by which it could do harm."""
    text = printable(line.text, colours=colourful(sys.stdout)) if sys.stdout.isatty() else line.text
    return f"{datetime.fromtimestamp(line.at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z  {text}\n" if timestamps else f"{text}\n"


def printable(text: str, *, colours: bool) -> str:
    """The text with tabs and, if wanted, colours, but without what moves a cursor, rings a bell or sets a title."""
    kept = []
    for part in _ESCAPES.split(text):
        if _COLOUR.fullmatch(part):
            kept.append(part if colours else "")
        elif not _ESCAPES.fullmatch(part):
            kept.append("".join(char for char in part if char.isprintable() or char == "\t"))
    return "".join(kept) + ("\x1b[0m" if colours and "\x1b" in text else "")
