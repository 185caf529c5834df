"""Object stores from this machine: list, put, get, remove, copy, and what a copy would cost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import rate
from orchestrator.cli.bars import speed, transfer_bar
from orchestrator.cli.output import Column, Format, Output, draw, duration, emit, emit_data, note, size, table, write

if TYPE_CHECKING:
    from cloud_adapters.egress import EgressPrice
    from cloud_adapters.transfer import Report

_PLACES = "file:///folder, s3://…, gs://… or az://…"
Uri = Annotated[str, typer.Argument(metavar="URI", help=f"{_PLACES}.", show_default=False)]
What = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help=f"{_PLACES}, or MODEL[@VERSION], or an artifact's id.", show_default=False),
]
Paranoid = Annotated[bool, typer.Option("--paranoid", help="Read back and hash all that landed, whatever the store.")]
LimitRate = Annotated[
    str | None, typer.Option("--limit", metavar="RATE", help="At most so much a second, such as 50MB/s.")
]


def list_objects(uri: Uri, output: Output = Format.TABLE) -> None:
    """List what is at an address, and all below it."""
    from orchestrator.sdk import stores

    columns = (
        Column("SIZE", lambda one: size(one.size)),
        Column("KEY", lambda one: one.key),
        Column("MD5", lambda one: one.md5.hex() if one.md5 else "", wide=True),
    )
    found = stores.ls(uri)
    if output in {Format.JSON, Format.YAML}:
        emit_data([asdict(one) | {"md5": one.md5.hex() if one.md5 else None} for one in found], output)
    else:
        emit(found, columns, output, name="key")


def put(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file or a folder.", show_default=False)],
    uri: Uri,
    artifact: Annotated[
        bool, typer.Option("--artifact", help="Make the folder an artifact: its manifest is written last.")
    ] = False,
    paranoid: Paranoid = False,
    limit: LimitRate = None,
) -> None:
    """Copy a file or a folder of this machine to a store."""
    from orchestrator.sdk import stores

    with _moving(uri) as show:
        report = stores.put(path, uri, artifact=artifact, paranoid=paranoid, limit=rate(limit), on_progress=show)
    _done(report)
    write(f"{uri}\n")


def get(
    source: What,
    to: Annotated[Path | None, typer.Argument(metavar="[PATH]", help="Where to; its own name by default.")] = None,
    paranoid: Paranoid = False,
    limit: LimitRate = None,
) -> None:
    """Copy a file, a folder or an artifact to this machine."""
    from orchestrator.sdk import stores

    with _moving(source) as show:
        path, report = stores.get(source, to, paranoid=paranoid, limit=rate(limit), on_progress=show)
    _done(report)
    write(f"{path}\n")


def copy(source: What, destination: Uri, paranoid: Paranoid = False, limit: LimitRate = None) -> None:
    """Copy from any store to any other, every byte verified.

    What the destination holds already is not sent again: start a copy that broke off once more, and it goes on.
    """
    from orchestrator.sdk import stores

    with _moving(source) as show:
        report = stores.cp(source, destination, paranoid=paranoid, limit=rate(limit), on_progress=show)
    _done(report)
    write(f"{destination}\n")


def remove(
    uri: Uri,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Remove a folder with all that is in it.")
    ] = False,
) -> None:
    """Remove an object, or a folder."""
    from orchestrator.sdk import stores

    count = stores.rm(uri, recursive=recursive)
    note(f"{count} {'object' if count == 1 else 'objects'} removed.", style="dim")


def estimate(
    source: What,
    to: Annotated[str, typer.Option("--to", metavar="URI|CLOUD", help="Where to: an address, or aws, gcp, azure.")],
    output: Output = Format.TABLE,
) -> None:
    """Tell what a copy would move, how long it takes, and what it costs to leave. Nothing is moved."""
    from orchestrator.sdk import stores

    found = stores.estimate(source, to)
    if output in {Format.JSON, Format.YAML}:
        emit_data(asdict(found), output)
        return
    there = found.total_bytes - found.bytes_to_move
    fields: list[tuple[str, Any]] = [
        ("Size", f"{size(found.total_bytes)} in {found.files} files"),
        ("To move", size(found.bytes_to_move) + (f"; the destination holds {size(there)}" if there else "")),
        ("Time", f"about {duration(found.seconds)} at an assumed {speed(found.rate)}"),
        ("Egress", _price(found.cost)),
    ]
    draw(table(("", ""), fields, fold=True))


def _price(cost: EgressPrice) -> str:
    """`$1.80 (aws: internet:na-eu; https://…, unchecked tariff)`."""
    checked = f"checked {cost.checked}" if cost.checked else "unchecked tariff"
    checked += f", seconded by {cost.seconded}" if cost.seconded else ""
    source = f"; {cost.source}, {checked}" if cost.usd else ""
    return f"${cost.usd:.2f} ({cost.route}{source})"


@contextmanager
def _moving(what: str) -> Iterator[Any]:
    """Shows progress. Ctrl-C lets what is under way end, which a store that is silent may hold up; once more does not
    wait for that."""
    before = signal.signal(signal.SIGINT, _interrupted)
    try:
        with transfer_bar(what.partition("?")[0].rstrip("/").rpartition("/")[2] or what) as show:
            yield show
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(*_: object) -> None:
    signal.signal(signal.SIGINT, _end_at_once)
    note("Interrupted. The same command goes on from here. (Ctrl-C once more does not wait for what is under way.)")
    raise KeyboardInterrupt


def _end_at_once(*_: object) -> None:
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")  # the bar has hidden the cursor
    os._exit(130)


def _done(report: Report) -> None:
    counts = report.counts
    parts = [
        f"{counts.files_done} {'file' if counts.files_done == 1 else 'files'}",
        f"{size(counts.moved)} in {report.seconds:.1f}s ({speed(counts.moved / max(report.seconds, 1e-6))})",
        f"{size(counts.already_there)} was there already" if counts.already_there else "",
        report.proof,
        f"egress {_price(report.cost)}" if report.cost.usd >= 0.005 else "",
    ]
    note("  ".join(part for part in parts if part), style="dim")
