"""The dispatcher fills the windows of pools: no further, in order, and for every shape."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.domain.ids import decode_attempt, encode
from orchestrator.domain.placement import WINDOW_PER_SLOT
from orchestrator.domain.state import JobState, Reason
from orchestrator.scheduler.dispatcher import Ring
from orchestrator.store import jobs, queue
from tests.integration.store.plane import Plane, command


def _dispatched(plane: Plane) -> list[int]:
    return [row.id for row in plane.sql("SELECT id FROM jobs WHERE state = 'DISPATCHED' ORDER BY id")]


def test_a_window_holds_twice_the_slots_and_the_rest_stays_queued(plane: Plane) -> None:
    plane.worker(slots=3)
    ids = plane.submit(*(command() for _ in range(10)))
    plane.dispatch()
    assert _dispatched(plane) == ids[: 3 * WINDOW_PER_SLOT]
    assert plane.dispatch() == []
    assert _dispatched(plane) == ids[: 3 * WINDOW_PER_SLOT]


def test_what_a_claim_takes_out_of_the_window_is_filled_up_in_order(plane: Plane) -> None:
    worker = plane.worker(slots=1)
    ids = plane.submit(*(command() for _ in range(5)))
    plane.dispatch()
    plane.claim(worker)
    plane.dispatch()
    assert _dispatched(plane) == ids[1:3]


def test_the_bell_rings_for_each_worker_that_has_something_to_do(plane: Plane) -> None:
    first, _ = plane.worker(slots=2), plane.worker(slots=2)
    (job,) = plane.submit()
    assert plane.dispatch() == [Ring("local", (encode("j", job),), 1)]
    plane.claim(first)
    plane.submit(*(command() for _ in range(6)))
    (ring,) = plane.dispatch()
    assert (len(ring.job_ids), ring.times) == (6, 2)


def test_a_pool_without_a_live_worker_gets_nothing(plane: Plane) -> None:
    worker = plane.worker()
    plane.sql("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 minute'")
    plane.submit()
    assert plane.dispatch() == []
    plane.heartbeat(worker)
    assert len(plane.dispatch()) == 1


def test_a_draining_worker_makes_no_room(plane: Plane) -> None:
    plane.worker()
    plane.sql("UPDATE workers SET draining = true")
    plane.submit()
    assert plane.dispatch() == []


def test_a_job_that_is_held_back_lets_others_pass_until_its_time_has_come(plane: Plane) -> None:
    plane.worker(slots=1)
    held, other = plane.submit(command(), command())
    plane.sql("UPDATE jobs SET not_before = clock_timestamp() + interval '1 hour' WHERE id = :id", id=held)
    plane.dispatch()
    assert _dispatched(plane) == [other]
    with plane.database.transaction() as connection:
        soonest = queue.soonest(connection)
    assert soonest is not None
    assert 3500 < soonest <= 3600
    plane.sql("UPDATE jobs SET not_before = clock_timestamp() WHERE id = :id", id=held)
    plane.dispatch()
    assert _dispatched(plane) == [held, other]


def test_each_shape_goes_where_it_fits(plane: Plane) -> None:
    plane.pool("t4", gpu="T4:1", cloud="aws")
    plane.worker("local")
    plane.worker("t4")
    gpu, cpu, nowhere = plane.submit(
        command(resources={"gpu": "T4:1"}), command(), command(placement={"clouds": ["azure"]})
    )
    plane.dispatch()
    pools = {row.id: row.name for row in plane.sql("SELECT j.id, p.name FROM jobs j JOIN pools p ON p.id = j.pool_id")}
    assert pools == {gpu: "t4", cpu: "local"}
    assert plane.state(nowhere) is JobState.QUEUED


@pytest.mark.parametrize(("flooding", "single"), [({}, {"pool": "local"}), ({"pool": "local"}, {})])
def test_a_long_backlog_of_one_shape_does_not_starve_another(
    plane: Plane, flooding: dict[str, str], single: dict[str, str]
) -> None:
    """Jobs that fit the same pool take turns by age, whatever their shapes are called."""
    worker = plane.worker(slots=1)
    plane.submit(*(command(placement=flooding) for _ in range(6)))
    (other,) = plane.submit(command(placement=single))
    plane.submit(*(command(placement=flooding) for _ in range(30)))
    for _ in range(7):
        plane.dispatch()
        (lease,) = plane.claim(worker)
        plane.report(worker, decode_attempt(lease.attempt))
    assert plane.state(other) is JobState.SUCCEEDED


def test_a_shape_that_fits_nowhere_holds_nobody_up(plane: Plane) -> None:
    plane.worker(slots=1)
    plane.submit(*(command(resources={"gpu": "A100:8"}) for _ in range(30)))
    (job,) = plane.submit()
    plane.dispatch()
    assert _dispatched(plane) == [job]


def test_what_overflows_one_pool_goes_to_the_next(plane: Plane) -> None:
    plane.pool("more")
    plane.worker("local", slots=1)
    plane.worker("more", slots=1)
    plane.submit(*(command() for _ in range(10)))
    plane.dispatch()
    counts = plane.sql("SELECT pool_id, count(*) AS n FROM jobs WHERE state = 'DISPATCHED' GROUP BY pool_id")
    assert [row.n for row in counts] == [2, 2]


def test_free_slots_of_every_pool_are_used_before_anybody_waits_behind_another(plane: Plane) -> None:
    plane.pool("more")
    plane.worker("local", slots=2)
    plane.worker("more", slots=2)
    plane.submit(*(command() for _ in range(4)))
    plane.dispatch()
    counts = plane.sql("SELECT pool_id, count(*) AS n FROM jobs WHERE state = 'DISPATCHED' GROUP BY pool_id")
    assert [row.n for row in counts] == [2, 2]


def test_two_dispatchers_at_once_never_overfill_a_window(plane: Plane) -> None:
    plane.worker(slots=4)
    plane.submit(*(command() for _ in range(100)))
    start = threading.Barrier(8, timeout=120)

    def run() -> None:
        start.wait()
        for _ in range(5):
            plane.dispatch()

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(run) for _ in range(8)]:
            done.result(timeout=120)
    assert len(_dispatched(plane)) == 4 * WINDOW_PER_SLOT


def test_while_one_replica_dispatches_the_other_leaves_it_alone(plane: Plane) -> None:
    plane.worker()
    plane.submit()
    with plane.database.transaction() as connection:
        assert queue.take_turn(connection)
        assert plane.dispatch() == []
    assert len(plane.dispatch()) == 1


def test_a_job_cancelled_while_it_is_dispatched_is_one_or_the_other(plane: Plane) -> None:
    plane.worker()
    first, second = plane.submit(command(), command())
    with plane.database.transaction() as connection:
        jobs.cancel(connection, first, "ada")
        plane.dispatch()  # neither waits for the cancel nor takes the job from it
    assert plane.state(first) is JobState.CANCELLED
    assert _dispatched(plane) == [second]


def test_a_retried_job_comes_before_younger_ones(plane: Plane) -> None:
    worker = plane.worker(slots=1)
    attempt = plane.running(worker)
    plane.submit(*(command() for _ in range(5)))
    plane.report(worker, attempt, Reason.PREEMPTED)
    plane.dispatch()
    assert _dispatched(plane)[0] == attempt.job_id
