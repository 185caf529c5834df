"""What the idle control plane costs: the API and two schedulers, without Postgres, Redis and workers."""

from __future__ import annotations

import os

import psutil

from bench.figures import Figure

_PARTS = ("orchestrator.api", "orchestrator.scheduler")


def figure() -> Figure:
    """Resident memory of the control plane's processes below this one, in MB."""
    total = 0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        if any(part in process.cmdline() for part in _PARTS):
            total += process.memory_info().rss
    megabytes = total / 1e6
    value, of = f"{megabytes:.0f} MB", "API + 2 schedulers, RSS"
    return Figure("idle control plane", value, of, None, "< 250 MB", megabytes < 250)
