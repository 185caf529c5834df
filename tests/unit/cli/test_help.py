"""Help is quick because it loads little, and complete because it is checked against the reference."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from orchestrator.cli.main import app

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def test_help_loads_neither_the_sdk_nor_what_draws() -> None:
    code = (
        "import sys\nfrom orchestrator.cli.main import main\ncode = main(['--help'])\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\nsys.exit(code)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stderr.splitlines()}
    assert not loaded & {"httpx", "pydantic", "rich", "yaml", "sqlalchemy", "celery", "torch"}
    for heading in ("Jobs:", "This machine:", "Things:"):
        assert heading in ran.stdout
    assert "..." not in ran.stdout.replace("[ARGS]...", "")  # every line fits


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        yield f"{path} {name}", child
        yield from _commands(child, f"{path} {name}")


COMMANDS = dict(_commands(typer.main.get_command(app), "neutrino"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_explained_and_in_the_reference(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    text = REFERENCE.read_text()
    assert f"`{name}" in text, f"{name} is missing in {REFERENCE.name}"
    for parameter in command.params:
        for option in (one for one in parameter.opts if one.startswith("--") and one != "--help"):
            assert f"`{option}" in text, f"{name} {option} is missing in {REFERENCE.name}"
            assert parameter.help, f"{name} {option} has no help"
