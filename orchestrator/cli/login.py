"""Which API, who am I, how is it: the profile and the state of the platform."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import (
    Column,
    Format,
    Output,
    ago,
    draw,
    emit,
    emit_data,
    note,
    plain,
    state_cell,
    table,
    write,
)


def login(
    url: Annotated[str, typer.Argument(help="The address of the API.")],
    token: Annotated[
        str | None, typer.Option("--token", envvar="NEUTRINO_TOKEN", help="Asked for, or read from a pipe, without it.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="The name to store it under.")] = "default",
) -> None:
    """Store the API and the token to use, after trying them."""
    from orchestrator.sdk.client import Client
    from orchestrator.sdk.profile import resolve, save
    from orchestrator.sdk.transport import BRIEF_RETRIES

    secret = token or (_ask() if sys.stdin.isatty() else sys.stdin.readline())
    chosen = resolve(url, secret)
    with Client(chosen.url, chosen.token, retries=BRIEF_RETRIES) as client:
        me = client.whoami()
    path = save(chosen, name=profile)
    note(f"{me.user} in {me.workspace} ({me.role}). Stored as {profile!r} in {path}.")


def _ask() -> str:
    from getpass import getpass

    return getpass("Token: ", stream=sys.stderr)


def whoami(output: Output = Format.TABLE) -> None:
    """Show who the token belongs to."""
    with connect() as client:
        me = client.whoami()
    if output in {Format.JSON, Format.YAML}:
        emit_data(plain(me), output)
    else:
        write(f"{me.user}\n" if output is Format.NAME else f"{me.user} in {me.workspace} ({me.role}) at {client.url}\n")


def _count(jobs: int) -> str:
    from orchestrator.domain.views import COUNTED

    return f"{jobs:,}+" if jobs >= COUNTED else str(jobs)


def status(output: Output = Format.TABLE) -> None:
    """Show the jobs by state and the parts of the platform."""
    with connect() as client:
        now = client.status()
    if output in {Format.JSON, Format.YAML}:
        emit_data(plain(now), output)
        return
    if output is not Format.NAME:
        draw(table(("JOBS", ""), ((state_cell(state), _count(count)) for state, count in now.jobs.items() if count)))
        write("\n")
    columns = (
        Column("COMPONENT", lambda part: part.name),
        Column("KIND", lambda part: part.kind, wide=True),
        Column("HEALTH", lambda part: part.state),
        Column("SEEN", lambda part: ago(part.seen_at)),
        Column("DETAIL", lambda part: part.detail),
    )
    emit(now.components, columns, output, name="name")


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell to complete in.")],
) -> None:
    """Print the script that completes commands in a shell.

    Use it with `source <(neutrino completion bash)`, or put its output where your shell looks for completions.
    """
    from typer._completion_shared import get_completion_script

    if shell not in {"bash", "zsh", "fish"}:
        raise typer.BadParameter("choose bash, zsh or fish.", param_hint="SHELL")
    write(get_completion_script(prog_name="neutrino", complete_var="_NEUTRINO_COMPLETE", shell=shell) + "\n")


def schema() -> None:
    """Print the JSON Schema of job files, for editors."""
    import json

    from orchestrator.domain.document import json_schema

    write(json.dumps(json_schema(), indent=2) + "\n")
