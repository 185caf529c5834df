"""No-op jobs through the whole system: how many per second, and how soon the first one runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from bench import peer
from bench.figures import Figure, percentile
from orchestrator import Client, Command
from orchestrator.embedded.stack import Stack

# A function that does nothing and returns None, called in a process of its own.
NOOP = Command(name="noop", entrypoint="gc:enable")
_UNFINISHED = "SELECT FROM jobs WHERE finished_at IS NULL LIMIT 1"
_WAITS = """
    SELECT extract(epoch FROM e.at - j.created_at) FROM jobs j JOIN events e ON e.job_id = j.id
    WHERE e.target = 'RUNNING' ORDER BY j.id DESC LIMIT %s
"""


def client(stack: Stack) -> Client:
    """A client of the stack under test."""
    return Client(url=stack.url, token=stack.admin_token)


def connect(stack: Stack) -> psycopg.Connection:
    """A connection to the stack's database, for looking only."""
    return psycopg.connect(stack.database_url.replace("+psycopg", "", 1), autocommit=True)


def throughput(stack: Stack, count: int) -> float:
    """Jobs per second, each in a process of its own, from the first submission to the last success."""
    api = client(stack)
    with connect(stack) as database:
        began = time.perf_counter()
        api.jobs.submit_many([NOOP] * count)
        while database.execute(_UNFINISHED).rowcount:  # seldom, and one row: looking must not cost what is measured
            time.sleep(0.05)
        took = time.perf_counter() - began
        failed = database.execute("SELECT count(*) FROM jobs WHERE state <> 'SUCCEEDED'").fetchone()
    if failed != (0,):
        raise SystemExit(f"{failed} of the jobs did not succeed; the figure would be worth nothing")
    return count / took


def latencies(stack: Stack, count: int) -> Sequence[float]:
    """Seconds from the commit of a submission to RUNNING, by the database's clock, one job at a time."""
    api = client(stack)
    for _ in range(count):
        api.jobs.submit(NOOP).wait(timeout="30s")
    with connect(stack) as database:
        return [float(row[0]) for row in database.execute(_WAITS, [count])]


def figures(stack: Stack, *, jobs: int, tasks: int) -> list[Figure]:
    """Throughput and latency, each against bare Celery on the same Redis."""
    throughput(stack, 200)  # warm
    waits = latencies(stack, 100)
    ours = throughput(stack, jobs)
    best = 0.0
    for concurrency in (2, 4):
        with peer.worker(stack.redis_url, concurrency):
            best = max(best, peer.throughput(stack.redis_url, tasks))
            starts = peer.latencies(stack.redis_url, 100)
    p50, p95 = percentile(waits, 0.5) * 1000, percentile(waits, 0.95) * 1000
    share = ours / best
    theirs = percentile(starts, 0.5) * 1000
    return [
        Figure("no-op jobs, end to end", f"{ours:.0f}/s", f"bare Celery {best:.0f}/s", share, "≥ 0.5", share >= 0.5),
        Figure("submit → RUNNING, p50", f"{p50:.1f} ms", f"bare Celery {theirs:.1f} ms", None, "< 25 ms", p50 < 25),
        Figure("submit → RUNNING, p95", f"{p95:.1f} ms"),
    ]
