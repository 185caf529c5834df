"""`python -m tests.storm --seed N --seconds S [--unfenced]`: exit code 0 only if the oracle has nothing to say."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.storm.report import show
from tests.storm.storm import run


def main() -> int:
    """Run one storm and report it."""
    parser = argparse.ArgumentParser(prog="tests.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides every fault and every wish of a user")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it storms; settling comes after")
    parser.add_argument("--unfenced", action="store_true", help="switch the fence off; the oracle has to notice")
    options = parser.parse_args()
    logging.getLogger("orchestrator.embedded").setLevel(logging.CRITICAL)  # that services die is the point
    folder = Path(tempfile.mkdtemp(prefix="neutrino-storm-"))
    folder.chmod(0o711)  # Postgres may run as another account and has to pass through
    began = time.monotonic()
    outcome = run(options.seed, options.seconds, folder, fenced=not options.unfenced)
    fence = "without its fence" if options.unfenced else "fenced"
    show(outcome, f"Storm {options.seed}, {options.seconds:g} s, {fence}; {time.monotonic() - began:.0f} s in all")
    if outcome.violations:
        print(f"The data, with the logs, is kept in {folder}.")  # noqa: T201
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
