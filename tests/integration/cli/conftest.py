"""The whole platform as real processes, and the CLI as the program that people start."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from tests.conftest import NewStackFolder

_NOT_OURS = ("NEUTRINO_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")


@dataclass
class Cli:
    """`neutrino` against one stack, with a profile of its own."""

    environment: dict[str, str] = field(repr=False)
    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            env=self.environment, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(
        self, *arguments: str, stdin: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            env=self.environment | environment, cwd=self.folder, input=stdin, capture_output=True, text=True,
            timeout=180, check=False,
        )  # fmt: skip

    def on_a_terminal(self, *arguments: str, **environment: str) -> str:
        """What a person would see, escape sequences included."""
        master, slave = pty.openpty()
        child = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            env=self.environment | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
            cwd=self.folder, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        seen = b""
        try:
            while chunk := os.read(master, 65536):
                seen += chunk
        except OSError:  # Linux reports the end of a terminal as an error
            pass
        os.close(master)
        child.wait()
        return seen.decode()


@pytest.fixture(scope="session")
def stack(new_stack_folder: NewStackFolder) -> Iterator[Stack]:
    """Postgres, Redis, API, scheduler and one worker with two slots."""
    with Stack(new_stack_folder("cli-stack"), workers=1, schedulers=1, slots=2) as running:
        yield running


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.url, stack.admin_token) as connected:
        yield connected


@pytest.fixture
def program(tmp_path: Path) -> Cli:
    """`neutrino` as somebody has it who has not pointed it anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    return Cli(kept | {"NEUTRINO_CONFIG": str(tmp_path / "config.json")}, tmp_path)


@pytest.fixture
def neutrino(stack: Stack, program: Cli) -> Cli:
    program.environment |= {"NEUTRINO_API_URL": stack.url, "NEUTRINO_TOKEN": stack.admin_token}
    return program
