"""`python -m migrations` brings the database named by DATABASE_URL to this release's schema.

`--wait-for database` changes nothing and returns as soon as the database answers; `--wait-for schema` as soon as it has
this release's schema or a later one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from sqlalchemy.exc import OperationalError

from migrations import is_ready, upgrade

_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 600.0


def _fault(url: str, wanted: str) -> str | None:
    """What is still missing, as a sentence."""
    try:
        ready = is_ready(url)
    except OperationalError as error:
        return f"The database does not answer: {str(error.orig).strip()}"
    if wanted == "database" or ready:
        return None
    return "The database does not have this release's schema yet; `python -m migrations` brings it."


def _wait(url: str, wanted: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    told = None
    while fault := _fault(url, wanted):
        if time.monotonic() > deadline:
            sys.exit(fault)
        if fault != told:
            sys.stderr.write(f"{fault}\n")
            told = fault
        time.sleep(_PAUSE_SECONDS)


def main() -> None:
    """Migrate, or wait for whoever does."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument("--wait-for", choices=("database", "schema"), help="wait instead of migrating")
    parser.add_argument(
        "--timeout", type=float, default=_PATIENCE_SECONDS, help="seconds to wait (default: %(default)g)"
    )
    arguments = parser.parse_args()
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("DATABASE_URL is not set. Set it to postgresql://user:password@host/database.")
    if arguments.wait_for:
        _wait(url, arguments.wait_for, arguments.timeout)
    else:
        upgrade(url)


if __name__ == "__main__":
    main()
