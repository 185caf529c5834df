"""Which API, and who am I: the profile."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import Format, Output, emit_one, note, write


def login(
    url: Annotated[str, typer.Argument(help="The address of the API.")],
    token: Annotated[
        str | None, typer.Option("--token", envvar="NEUTRINO_TOKEN", help="Asked for, or read from a pipe, without it.")
    ] = None,
    profile: Annotated[str, typer.Option("--profile", help="The name to store it under.")] = "default",
) -> None:
    """Store the API and the token to use, after trying them."""
    from orchestrator.domain.errors import AuthenticationError
    from orchestrator.sdk.client import Client
    from orchestrator.sdk.profile import resolve, save
    from orchestrator.sdk.transport import BRIEF_RETRIES

    secret = token or (_ask() if sys.stdin.isatty() else sys.stdin.readline())
    if not secret.strip():
        hint = "Give it with --token, a pipe or NEUTRINO_TOKEN. An admin makes one with `neutrino token create`."
        raise AuthenticationError("No token was given.", hint=hint)
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
    if not emit_one(me, output, name="user"):
        write(f"{me.user} in {me.workspace} ({me.role}) at {client.url}\n")
