"""What the idle control plane costs: the API and two schedulers, without Postgres, Redis and workers."""

from __future__ import annotations

import os
import time

import psutil

from bench.figures import Figure

_PARTS = ("orchestrator.api", "orchestrator.scheduler")


_SETTLED_SECONDS = 10.0  # by then everything that is done from time to time has been done once


def figure() -> Figure:
    """Memory that the control plane's processes below this one take from the machine, in MB: of a page that several
    processes share, each counts its part (PSS)."""
    time.sleep(_SETTLED_SECONDS)
    proportional = resident = 0
    for process in psutil.Process(os.getpid()).children(recursive=True):
        if any(part in process.cmdline() for part in _PARTS):
            memory = process.memory_full_info()
            proportional += memory.pss
            resident += memory.rss
    megabytes = proportional / 1e6
    of = f"API + 2 schedulers, PSS; RSS {resident / 1e6:.0f} MB"
    return Figure("idle control plane", f"{megabytes:.0f} MB", of, None, "< 250 MB", megabytes < 250)
