"""Models and their versions."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.migrations import Ref, wait_for
from orchestrator.cli.output import Column, Format, Output, ago, draw, emit, emit_one, note, size, table, write

if TYPE_CHECKING:
    from orchestrator.domain.views import ReplicaView


_LINEAGE = ("workload", "dataset", "parent", "attempt", "code", "spec")


def _when(replica: ReplicaView) -> str:
    return f"({ago(replica.checked_at)} ago)" if replica.checked_at else ""


def _best(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())[:4])


def list_models(
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="List the versions of this one.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List models, or the versions of one."""
    versions = (
        Column("REF", lambda version: version.ref),
        Column("ALIASES", lambda version: ", ".join(version.aliases)),
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
    if emit_one(version, output, name="ref"):
        return
    artifact = version.artifact
    fields: list[tuple[str, Any]] = [
        ("Model", version.ref),
        ("SHA-256", artifact.digest),
        ("Size", f"{size(artifact.size)} in {artifact.files} files"),
        ("Job", artifact.job),
        ("Created", f"{version.created_at:%Y-%m-%d %H:%M:%S}  ({ago(version.created_at)} ago)"),
        *([("Aliases", ", ".join(version.aliases))] if version.aliases else []),
        *(("Replica", f"{replica.store}  {replica.state} {_when(replica)}") for replica in artifact.replicas),
        *((key.capitalize(), str(version.lineage[key])) for key in _LINEAGE if version.lineage.get(key)),
        *((name, f"{value:.6g}") for name, value in sorted(version.metrics.items())),
    ]
    draw(table(("", ""), fields, fold=True))


def list_replicas(ref: Ref, output: Output = Format.TABLE) -> None:
    """List the copies of a model version, one per store."""
    columns = (
        Column("CLOUD", lambda replica: replica.cloud),
        Column("STATE", lambda replica: str(replica.state)),
        Column("SIZE", lambda replica: size(replica.bytes)),
        Column("CHECKED", lambda replica: ago(replica.checked_at)),
        Column("JOB", lambda replica: replica.job or ""),
        Column("STORE", lambda replica: replica.store),
        Column("ERROR", lambda replica: replica.error or "", wide=True),
    )
    with connect() as client:
        emit(client.models.get(ref).view.artifact.replicas, columns, output, name="store")


def verify(
    ref: Ref,
    store: Annotated[
        str | None, typer.Option("--at", metavar="PLACE", help="Only the copy there: a cloud, a pool or an address.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the ids of the checks and return.")] = False,
) -> None:
    """Hash every byte of the copies at rest.

    A damaged copy is not read any more, and is mended from a good one.
    """
    with connect() as client:
        checks = client.models.get(ref).verify(store)
        if detach:
            write("".join(f"{check.id}\n" for check in checks))
        else:
            wait_for(checks)
            note(f"{ref}: every byte of {len(checks)} copies is right.", style="dim")


def alias(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    assignment: Annotated[
        str | None, typer.Argument(metavar="[ALIAS=VERSION]", help="Such as prod=3; prod= forgets it.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """List a model's aliases, or let one point at a version."""
    columns = (
        Column("ALIAS", lambda found: found.alias),
        Column("VERSION", lambda found: f"{name}@{found.version}"),
        Column("AGE", lambda found: ago(found.set_at)),
        Column("BY", lambda found: found.set_by),
    )
    with connect() as client:
        if assignment is None:
            emit(client.models.aliases(name), columns, output, name="alias")
            return
        word, equals, version = assignment.partition("=")
        if not word or not equals:
            raise typer.BadParameter(f"{assignment!r} is not ALIAS=VERSION.")
        if not version:
            client.models.remove_alias(name, word)
            note(f"{name}@{word} is forgotten.", style="dim")
            return
        set_to = client.models.get(f"{name}@{version}").alias(word)
        note(f"{name}@{set_to.alias} is {name}@{set_to.version}.", style="dim")


def delete(
    ref: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="Such as digits-cnn@1.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a model version with all of its copies.

    One that an alias names, or that a job uses, is not deleted.
    """
    if "@" not in ref:
        raise typer.BadParameter(f"{ref!r} names no version; write {ref}@1.")
    with connect() as client:
        model = client.models.get(ref)
        if not yes and sys.stdin.isatty() and sys.stderr.isatty():
            places = ", ".join(replica.store for replica in model.view.artifact.replicas)
            typer.confirm(f"Delete {model.ref} ({places})?", abort=True, err=True)
        model.delete()
    note(f"{model.ref} is deleted.", style="dim")


def download(
    ref: Ref,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to; ./NAME-VERSION by default.")
    ] = None,
    near: Annotated[
        str | None, typer.Option("--near", metavar="PLACE", help="Whose copy to prefer; $NEUTRINO_NEAR.")
    ] = None,
) -> None:
    """Download a version of a model.

    Every byte is verified before anything appears in the folder.
    """
    with connect() as client:
        version = client.models.get(ref)
        folder = version.download(to or Path(f"{version.name}-{version.version}"), near=near)
    note(f"{version.ref}: {size(version.view.artifact.size)} verified.", style="dim")
    write(f"{folder}\n")
