"""The SDK as type checkers see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain import spec, written

ROOT = Path(__file__).parents[3]


def test_shorthands_are_typed() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", str(Path(__file__).with_name("typed_usage.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Resources", "Placement", "Retry", "Checkpoints", "Outputs", "Train", "Command"])
def test_what_is_typed_is_what_there_is(name: str) -> None:
    fields: Any = getattr(written, f"{name}Fields")
    shorthands = {"max_cost_usd"} if name in spec.KINDS else set()
    assert (
        set(fields.__required_keys__ | fields.__optional_keys__) == set(getattr(spec, name).model_fields) | shorthands
    )
