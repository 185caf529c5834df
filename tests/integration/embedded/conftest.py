"""What the tests of the embedded mode share."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.embedded.process import Child
from orchestrator.embedded.supervisor import Supervisor

SECONDS = 120


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not so within {SECONDS} s"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""
    return _until


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process runs; zombies do not."""
    return _alive


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    """A supervisor whose home is the test's folder."""
    with Supervisor(tmp_path) as supervisor:
        yield supervisor


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Child]:
    """Makes children that are small shell scripts; they see the test's folder as $HOME_DIR."""

    def make(name: str, script: str, **options: object) -> Child:
        env = {"PATH": "/usr/bin:/bin", "HOME_DIR": str(tmp_path)}
        return Child(name, ["/bin/sh", "-c", script], env, tmp_path, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="neutrino-open-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder below one that only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="neutrino-closed-") as name:
        yield Path(name) / "inner"


@pytest.fixture
def kill() -> Callable[[int], None]:
    """kill -9."""
    return lambda pid: os.kill(pid, signal.SIGKILL)
