"""The limit: the same writes straight into Postgres, in batches, without HTTP, Celery or processes."""

from __future__ import annotations

import time

import psycopg
from sqlalchemy import make_url, text

import migrations
from bench.figures import Figure
from bench.jobs import NOOP
from orchestrator.bootstrap import Wanted, bootstrap
from orchestrator.domain.ids import AttemptId, decode_attempt
from orchestrator.domain.protocol import RegisterWorker, Report
from orchestrator.domain.state import Reason
from orchestrator.scheduler.dispatcher import dispatch
from orchestrator.store import attempts, jobs, pools
from orchestrator.store.fence import Holder
from orchestrator.store.session import Database

_SLOTS = 500  # as many as the dispatcher places at once


def lives(database: Database, workspace_id: int, count: int) -> float:
    """Whole lives of jobs per second: submit, dispatch, claim, report."""
    with database.transaction() as connection:
        worker = pools.register(
            connection, RegisterWorker(name="limit", pool="local", slots=_SLOTS, host="bench", pid=1, version="bench")
        )
    dispatch(database)  # warm
    began = time.perf_counter()
    for start in range(0, count, _SLOTS):
        with database.transaction() as connection:
            jobs.submit(connection, workspace_id, "bench", [NOOP] * min(_SLOTS, count - start))
        dispatch(database)
        with database.transaction() as connection:
            leases = attempts.claim(connection, worker.worker_id, worker.pool_id, _SLOTS, 60)
        done = [(_attempt(lease.attempt), Report(attempt=lease.attempt, reason=Reason.SUCCEEDED)) for lease in leases]
        with database.transaction() as connection:
            attempts.report(connection, Holder(worker.worker_id), done)
    took = time.perf_counter() - began
    with database.transaction() as connection:
        ended = connection.execute(text("SELECT count(*) FROM jobs WHERE state = 'SUCCEEDED'")).scalar_one()
    if ended < count:
        raise SystemExit(f"only {ended} of {count} jobs ended; the figure would be worth nothing")
    return count / took


def _attempt(public_id: str) -> AttemptId:
    return decode_attempt(public_id)


def figure(server_url: str, ours: float) -> Figure:
    """How much of what Postgres could do the whole system does; in a database of its own on the same server."""
    alone = make_url(server_url).set(database="bench_limit")
    with psycopg.connect(server_url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bench_limit")
    url = alone.render_as_string(hide_password=False)
    migrations.upgrade(url)
    database = Database(url)
    bootstrap(database, Wanted(store="file:///nowhere"))
    with database.transaction() as connection:
        workspace_id: int = connection.execute(text("SELECT min(id) FROM workspaces")).scalar_one()
    limit = lives(database, workspace_id, 5000)
    database.close()
    return Figure("the same writes alone", f"{limit:.0f}/s", f"whole system {ours:.0f}/s", ours / limit)
