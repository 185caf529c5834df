"""`python -m bench` measures everything in one run on a stack of its own and prints the figures."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from bench import browsing, jobs, limit, listing, memory, migration, painting, seed, versions
from bench.figures import Figure, show
from bench.transfer import __main__ as transfers
from orchestrator.embedded.stack import Stack
from orchestrator.store.session import Database


@contextmanager
def _stack(slots: int) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="neutrino-bench-"))
    folder.chmod(0o711)
    os.environ["NEUTRINO_LOG_LEVEL"] = "WARNING"
    for external in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(external, None)  # what is measured is what the bench has started itself
    try:
        with Stack(folder, slots=slots) as stack:
            yield stack
    finally:
        shutil.rmtree(folder)


def _workspace(database: Database) -> int:
    with database.transaction() as connection:
        found: int = connection.execute(text("SELECT min(id) FROM workspaces")).scalar_one()
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--jobs", type=int, default=4000, help="no-op jobs to run")
    parser.add_argument("--tasks", type=int, default=4000, help="no-op tasks of bare Celery to run")
    parser.add_argument("--rows", type=int, default=1_000_000, help="jobs in the history that lists are read from")
    parser.add_argument("--slots", type=int, default=64, help="slots of the worker")
    chosen = parser.parse_args()
    figures: list[Figure] = []
    with _stack(chosen.slots) as stack:
        figures.append(memory.figure())
        figures += jobs.figures(stack, jobs=chosen.jobs, tasks=chosen.tasks)
        ours = float(figures[1].value.removesuffix("/s"))
        figures.append(limit.figure(stack.database_url, ours))
    with _stack(chosen.slots) as stack:
        database = Database(stack.database_url)
        workspace_id = _workspace(database)
        seed.history(database, workspace_id, chosen.rows)
        figures += listing.figures(stack.url, stack.admin_token, chosen.rows)
        figures += browsing.figures(stack.url, stack.admin_token, chosen.rows)
        figures += painting.figures(stack.url, stack.admin_token)
        database.close()
    figures.append(versions.figure())
    figures += migration.figures()
    figures += transfers.figures()
    show(figures)


if __name__ == "__main__":
    main()
