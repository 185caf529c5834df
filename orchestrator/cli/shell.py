"""What shells and editors want of the command line: completion, and the schema of job files."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.output import write


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
