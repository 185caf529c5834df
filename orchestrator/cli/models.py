"""Models and their versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Column, Format, Output, ago, draw, emit, emit_data, note, plain, size, table, write

Ref = Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="Such as digits-cnn@1.", show_default=False)]


def _best(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())[:4])


def list_models(
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="List the versions of this one.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List models, or the versions of one."""
    versions = (
        Column("REF", lambda version: version.ref),
        Column("AGE", lambda version: ago(version.created_at)),
        Column("SIZE", lambda version: size(version.artifact.size)),
        Column("SHA-256", lambda version: version.artifact.digest[:12]),
        Column("JOB", lambda version: version.artifact.job, wide=True),
        Column("METRICS", lambda version: _best(version.metrics)),
    )
    models = (
        Column("NAME", lambda model: model.name),
        Column("VERSIONS", lambda model: str(model.versions)),
        Column("LATEST", lambda model: model.latest.ref),
        Column("AGE", lambda model: ago(model.latest.created_at)),
        Column("SIZE", lambda model: size(model.latest.artifact.size), wide=True),
        Column("METRICS", lambda model: _best(model.latest.metrics)),
    )
    with connect() as client:
        if name is not None:
            emit([version.view for version in client.models.versions(name)], versions, output, name="ref")
            return
        found = list(client.models.list())
        emit(found, models, output, name="name")
    if not found and output in {Format.TABLE, Format.WIDE}:
        note("No models. A job registers one with `outputs: {model: NAME}`.", style="dim")


def get(ref: Ref, output: Output = Format.TABLE) -> None:
    """Show one version of a model, or the latest."""
    with connect() as client:
        version = client.models.get(ref).view
    if output is Format.NAME:
        write(f"{version.ref}\n")
        return
    if output in {Format.JSON, Format.YAML}:
        emit_data(plain(version), output)
        return
    artifact = version.artifact
    fields: list[tuple[str, Any]] = [
        ("Model", version.ref),
        ("SHA-256", artifact.digest),
        ("Size", f"{size(artifact.size)} in {artifact.files} files"),
        ("Job", artifact.job),
        ("Created", f"{version.created_at:%Y-%m-%d %H:%M:%S}  ({ago(version.created_at)} ago)"),
        *(("Replica", f"{replica.store}  verified {ago(replica.verified_at)} ago") for replica in artifact.replicas),
        *((name, f"{value:.6g}") for name, value in sorted(version.metrics.items())),
    ]
    draw(table(("", ""), fields, fold=True))


def download(
    ref: Ref,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to; ./NAME-VERSION by default.")
    ] = None,
) -> None:
    """Download a version of a model.

    Every byte is verified before anything appears in the folder.
    """
    with connect() as client:
        version = client.models.get(ref)
        folder = version.download(to or Path(f"{version.name}-{version.version}"))
    note(f"{version.ref}: {size(version.view.artifact.size)} verified.", style="dim")
    write(f"{folder}\n")
