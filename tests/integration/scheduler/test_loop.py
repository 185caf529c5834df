"""A replica: woken by the database, it dispatches and rings; it outlives a database that goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis as RedisClient

from orchestrator.domain.ids import encode
from orchestrator.domain.state import JobState
from orchestrator.embedded.postgres import Postgres
from orchestrator.queues import queue_for_pool, queue_for_worker
from orchestrator.scheduler.bells import Bells
from orchestrator.scheduler.loop import Scheduler
from orchestrator.store import components, jobs
from orchestrator.store.session import Database
from tests.conftest import NewStackFolder
from tests.integration.store.plane import Plane


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def replica(redis_url: str) -> Iterator[Callable[[Database], threading.Thread]]:
    """Starts replicas, and stops them at the end."""
    bells = Bells(redis_url)
    bells.start()
    running: list[tuple[Scheduler, threading.Thread]] = []

    def start(database: Database) -> threading.Thread:
        scheduler = Scheduler(database, bells)
        thread = threading.Thread(target=scheduler.run)
        running.append((scheduler, thread))
        thread.start()
        return thread

    yield start
    for scheduler, _ in running:
        scheduler.stop.set()
    for _, thread in running:
        thread.join(timeout=120)
        assert not thread.is_alive()
    bells.stop()


def _rung(redis_url: str, queue: str) -> bool:
    with RedisClient.from_url(redis_url) as client:
        return bool(client.exists(f"neutrino:{queue}"))


def test_a_submitted_job_is_dispatched_and_its_pool_rung(
    plane: Plane, redis_url: str, replica: Callable[[Database], threading.Thread]
) -> None:
    worker = plane.worker()
    replica(plane.database)
    replica(plane.database)
    (job,) = plane.submit()
    _until(lambda: plane.state(job) is JobState.DISPATCHED)
    _until(lambda: _rung(redis_url, queue_for_pool("local")))
    assert len(plane.claim(worker, 4)) == 1
    assert {row.kind for row in plane.sql("SELECT kind FROM components WHERE ok")} == {"scheduler", "broker"}


def test_a_cancel_rings_for_the_worker_that_runs_the_job(
    plane: Plane, redis_url: str, replica: Callable[[Database], threading.Thread]
) -> None:
    worker = plane.worker()
    attempt = plane.running(worker)
    replica(plane.database)
    _until(lambda: plane.sql("SELECT FROM components"))  # it listens before it says so
    with plane.database.transaction() as connection:
        jobs.cancel(connection, attempt.job_id, "ada")
    _until(lambda: _rung(redis_url, queue_for_worker(encode("w", worker))))


def test_a_lease_that_runs_out_is_noticed_without_being_told(
    plane: Plane, replica: Callable[[Database], threading.Thread]
) -> None:
    attempt = plane.running(plane.worker())
    replica(plane.database)
    plane.expire(attempt)
    _until(lambda: plane.job(attempt.job_id).reason != "claimed")
    assert plane.job(attempt.job_id).worker_deaths == 1


@pytest.mark.fault
def test_a_replica_outlives_its_database(
    new_stack_folder: NewStackFolder, replica: Callable[[Database], threading.Thread]
) -> None:
    folder = new_stack_folder("replica") / "postgres"
    with Postgres(folder) as server:
        port = server.port
        database = Database(server.url)
        plane = Plane(database)
        plane.pool()
        replica(database)
        _until(lambda: plane.sql("SELECT FROM components"))
    with Postgres(folder, port=port) as again:
        assert again.url == server.url
        plane.worker()
        (job,) = plane.submit()
        _until(lambda: plane.state(job) is JobState.DISPATCHED)
    database.close()


def test_a_replica_that_stops_is_not_missed(plane: Plane, redis_url: str) -> None:
    def names() -> list[str]:
        with plane.database.transaction() as connection:
            return [part.name for part in components.views(connection) if part.kind == "scheduler"]

    bells = Bells(redis_url)
    bells.start()
    scheduler = Scheduler(plane.database, bells)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    _until(names)
    scheduler.stop.set()
    thread.join(timeout=120)
    bells.stop()
    assert names() == []
