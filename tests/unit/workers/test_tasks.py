"""Nothing that goes on beside ends unseen."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.tasks import Tasks, together


async def _fail() -> None:
    raise ValueError("lost")


def test_what_was_spawned_and_fails_ends_the_whole() -> None:
    async def whole() -> None:
        tasks, going = Tasks(), asyncio.Event()
        tasks.spawn(asyncio.sleep(0))
        tasks.spawn(_fail())
        await together(going.wait(), tasks.failure())  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="lost"):
        asyncio.run(asyncio.wait_for(whole(), 30))


def test_the_first_that_ends_ends_the_others() -> None:
    ended = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    asyncio.run(asyncio.wait_for(together(asyncio.sleep(0), wait()), 30))
    assert ended == ["cancelled"]


@pytest.mark.parametrize("module", ["workers", "workers.launcher"])
def test_a_worker_that_probes_cannot_reach_ends_and_says_why(module: str, tmp_path: Path) -> None:
    env = os.environ | {
        "NEUTRINO_API_URL": "http://127.0.0.1:9",
        "NEUTRINO_TOKEN": "nobody",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "NEUTRINO_POOL": "local",
        "NEUTRINO_DATA_DIR": str(tmp_path),
        "NEUTRINO_ALIVE_BIND": "8471",
    }
    ended = subprocess.run(
        [sys.executable, "-m", module], env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert ended.returncode == 1
    assert "NEUTRINO_ALIVE_BIND is '8471'" in ended.stderr
    assert "Traceback" not in ended.stderr
