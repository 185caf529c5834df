"""A control plane, a store in a folder, and workers that are real processes; all of them end with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.workers.control_plane import TOKEN, ControlPlane, serving
from workers import proctree

NOBODY_LISTENS = "redis://127.0.0.1:1/0"


@dataclass
class Workers:
    """Starts workers."""

    url: str
    data_dir: Path
    redis_url: str = NOBODY_LISTENS
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        settings = {
            "NEUTRINO_API_URL": self.url,
            "NEUTRINO_TOKEN": TOKEN,
            "NEUTRINO_DATA_DIR": str(self.data_dir),
            "NEUTRINO_SLOTS": "4",
            "REDIS_URL": self.redis_url,
        }
        process = subprocess.Popen([sys.executable, "-m", "workers"], env=os.environ | settings | env)
        self.processes.append(process)
        return process

    def leftovers(self) -> list[int]:
        """Processes of attempts that are still running."""
        attempts = self.data_dir / "attempts"
        return [
            pid
            for pid in proctree.pids()
            if Path(proctree.environment(pid).get("NEUTRINO_RUN_DIR", "")).parent == attempts
        ]


@pytest.fixture
def plane(tmp_path: Path) -> ControlPlane:
    return ControlPlane(f"file://{tmp_path}/store")


@pytest.fixture
def workers(plane: ControlPlane, tmp_path: Path) -> Iterator[Workers]:
    (tmp_path / "store").mkdir()
    with serving(plane) as url:
        started = Workers(url, tmp_path / "data")
        yield started
        for process in started.processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in started.processes:
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
