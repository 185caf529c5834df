"""What services are told from outside is read when they start: nonsense is refused by name, not at the first call."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.domain.errors import NeutrinoError
from orchestrator.settings import Settings, bind


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:8470", ("127.0.0.1", 8470)),
        (":8470", ("", 8470)),
        ("[::1]:8470", ("::1", 8470)),
        ("", None),
    ],
)
def test_where_to_listen(text: str, where: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUTRINO_BIND", text)
    assert bind("NEUTRINO_BIND") == where


@pytest.mark.parametrize("text", ["8470", "localhost", "localhost:", "localhost:http", "127.0.0.1:70000"])
def test_a_place_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUTRINO_BIND", text)
    with pytest.raises(NeutrinoError, match="NEUTRINO_BIND is"):
        bind("NEUTRINO_BIND", "127.0.0.1:8470")


@pytest.mark.parametrize(
    "name", ["NEUTRINO_LEASE_SECONDS", "NEUTRINO_STALE_SECONDS", "NEUTRINO_SWEEP_HOURS", "NEUTRINO_VERIFY_DAYS"]
)
def test_a_number_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(NeutrinoError, match=name):
        Settings.from_env({name: "abc"})


@pytest.mark.parametrize("service", ["orchestrator.api", "orchestrator.scheduler"])
def test_a_service_does_not_start_with_nonsense(service: str) -> None:
    env = os.environ | {"NEUTRINO_LEASE_SECONDS": "abc", "DATABASE_URL": "postgresql+psycopg://127.0.0.1:9/none"}
    ended = subprocess.run(
        [sys.executable, "-m", service], env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert ended.returncode == 1
    assert "NEUTRINO_LEASE_SECONDS is 'abc'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_variable_is_in_the_reference_and_no_other() -> None:
    root = Path(__file__).parents[2]
    name = re.compile(r"(?<![A-Z_])NEUTRINO_[A-Z_]*[A-Z]\b(?!_)")
    code = [path for part in ("orchestrator", "workers", "cloud_adapters") for path in (root / part).rglob("*.py")]
    used = {found for path in code for found in name.findall(path.read_text("utf-8"))}
    told = set(name.findall((root / "docs" / "reference" / "settings.md").read_text("utf-8")))
    assert used == told
