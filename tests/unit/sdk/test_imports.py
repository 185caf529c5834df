"""Importing the SDK stays light, and every public name is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator as nu

HEAVY = (
    "sqlalchemy celery kombu redis psycopg alembic fastapi uvicorn "
    "torch numpy sklearn boto3 botocore obstore google azure kubernetes"
)


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ran.stdout.splitlines()}


def test_importing_the_package_loads_nothing_of_others() -> None:
    assert not _modules_after("import orchestrator") & {*HEAVY.split(), "httpx", "pydantic", "rich", "typer", "yaml"}


@pytest.mark.parametrize(
    "statement",
    [
        "from orchestrator import Client, Train",
        "from orchestrator import *",
        "import orchestrator as nu; nu.job",
        "import orchestrator as nu; nu.stores",
    ],
)
def test_the_sdk_loads_no_server_and_no_cloud(statement: str) -> None:
    assert not _modules_after(statement) & {*HEAVY.split(), "typer"}  # httpx brings rich when it is there


def test_code_inside_a_job_loads_next_to_nothing() -> None:
    assert not _modules_after("import orchestrator as nu; nu.run") & {*HEAVY.split(), "httpx", "rich", "typer", "yaml"}


def test_every_name_is_there_and_typed() -> None:
    for name in nu.__all__:
        assert getattr(nu, name).__name__.rpartition(".")[2] == name
    source = ast.parse(Path(nu.__file__).read_text())
    block = next(node for node in source.body if isinstance(node, ast.If))
    typed = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed == set(nu.__all__)
    assert set(nu.__all__) <= set(dir(nu))


def test_a_wrong_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Cleint"):
        nu.Cleint  # noqa: B018


def test_a_sample_is_plain_data() -> None:
    sample = nu.sample("digits")
    assert len(sample["image"]) == 8
    assert all(
        len(row) == 8 and all(type(pixel) is float and 0 <= pixel <= 16 for pixel in row) for row in sample["image"]
    )
    assert type(sample["label"]) is int
    with pytest.raises(nu.NotFound, match="digits"):
        nu.sample("digit")
    with pytest.raises(nu.NotFound, match="1796"):
        nu.sample("digits", 1797)
