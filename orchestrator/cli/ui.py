"""The dashboard in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.arguments import connect
from orchestrator.cli.output import note, write


def ui(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it, or only print the link.")] = True,
) -> None:
    """Open the dashboard, signed in."""
    import webbrowser

    with connect() as client:
        link = client.url + client.sign_in_link().path
    if browser and webbrowser.open(link):
        note(f"Opened {client.url}")
        return
    note("Open this in a browser within a minute; it works once:")
    write(f"{link}\n")
