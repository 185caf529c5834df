"""A worker: `python -m workers`. Settings come from the environment (`workers.settings`)."""

from __future__ import annotations

import asyncio
import sys

from orchestrator import logs, traces
from orchestrator.domain.errors import NeutrinoError
from workers import proctree
from workers.ending import leave
from workers.home import Home
from workers.runner import Runner
from workers.settings import Settings


def main() -> int:
    """Run a worker until it is asked to go. Returns the exit code."""
    logs.configure("worker")
    try:
        settings = Settings.from_env()
        proctree.hide_memory()
        home = Home.take(settings.data_dir, settings.name)
        runner = Runner(home.lock, home.folder, settings.most_processes, settings.slots)
        from workers.agent import Agent  # noqa: PLC0415 - only now: it brings threads, and the zygote must come first

        traces.configure("worker")  # it brings a thread, too
        try:
            asyncio.run(Agent(settings, runner).run())
        finally:
            runner.close()
            traces.flush()
    except NeutrinoError as error:
        sys.stderr.write(f"neutrino worker: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    leave(main())
