"""The sign of life that probes look for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator import alive
from orchestrator.domain.errors import NeutrinoError


def _probe(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.alive"]
    inherited = {name: text for name, text in os.environ.items() if name != "NEUTRINO_ALIVE_FILE"}
    return subprocess.run(command, env=inherited | env, capture_output=True, text=True, timeout=180, check=False)


def test_a_service_that_turns_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alive"
    monkeypatch.setenv("NEUTRINO_ALIVE_FILE", str(file))

    async def turn() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(alive.keep_beating(), 0.1)

    asyncio.run(turn())
    assert alive.is_fresh(file)


def test_without_the_variable_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEUTRINO_ALIVE_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    alive.Alive().beat()
    assert list(tmp_path.iterdir()) == []


def test_the_probe_tells_living_from_silent_and_from_never_started(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    env = {"NEUTRINO_ALIVE_FILE": str(file)}
    assert _probe(env).returncode == 1
    file.touch()
    assert _probe(env).returncode == 0
    long_ago = time.time() - 2 * alive.FRESH_SECONDS
    os.utime(file, (long_ago, long_ago))
    assert "was not touched" in _probe(env).stderr
    assert "NEUTRINO_ALIVE_FILE is not set" in _probe({}).stderr


@pytest.mark.parametrize("where", ["8471", "nowhere:many", "192.0.2.1:8471"])
def test_a_service_that_cannot_answer_probes_says_so(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUTRINO_ALIVE_BIND", where)
    with pytest.raises(NeutrinoError, match="NEUTRINO_ALIVE_BIND is"):
        asyncio.run(alive.keep_beating())


def test_a_file_that_cannot_be_touched_is_told_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEUTRINO_ALIVE_FILE", str(tmp_path / "nowhere" / "alive"))
    alive.Alive().beat()
    assert "cannot be touched" in caplog.text
