"""`helm test`: submits a real job, waits for its end, and looks for its row in the database."""

from __future__ import annotations

import argparse
import os
import sys

import psycopg

import orchestrator as nu
from orchestrator.domain.ids import decode

WORD = "Neutrino works."
_ROW = """
    SELECT j.state, j.epoch, a.state, p.name FROM jobs j
    JOIN attempts a ON a.job_id = j.id AND a.epoch = j.epoch JOIN pools p ON p.id = j.pool_id WHERE j.id = %s
"""


def main() -> None:
    """Exit with 0 when the job ran, its log came back and the database says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", help="the pool to run in; any without it")
    parser.add_argument("--timeout", default="300", help="seconds to wait (default: %(default)s)")
    arguments = parser.parse_args()
    spec = nu.Command(
        name="helm-test", command=("python", "-c", f"print({WORD!r})"), placement=nu.Placement(pool=arguments.pool)
    )
    with nu.Client() as client:
        job = client.jobs.submit(spec)
        sys.stdout.write(f"{job.id} is submitted.\n")
        try:
            job.wait(timeout=f"{arguments.timeout}s")
        except nu.NeutrinoError as error:
            sys.exit(f"{job.id}: {error}\n{job.why()}")
        lines = [line.text for line in job.logs()]
    if WORD not in lines:
        sys.exit(f"{job.id} succeeded, but its log is {lines}.")
    with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", "", 1)) as connection:
        row = connection.execute(_ROW, (decode("j", job.id),)).fetchone()
    if row is None or row[0] != "SUCCEEDED" or row[2] != "SUCCEEDED":
        sys.exit(f"{job.id} succeeded, but its row in the database is {row}.")
    sys.stdout.write(f"{job.id} succeeded in pool {row[3]} at attempt {row[1]}, says the database.\n")


if __name__ == "__main__":
    main()
