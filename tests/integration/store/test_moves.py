"""Jobs that go elsewhere, as the database sees them: asked, queued, placed, resumed; refused, and copied ahead."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.domain.errors import Conflict, NoPlace
from orchestrator.domain.ids import AttemptId, decode_attempt, encode
from orchestrator.domain.placement import Shape
from orchestrator.domain.pods import ClusterKind, CreateCluster
from orchestrator.domain.quantities import GIB
from orchestrator.domain.spec import Cloud, Placement
from orchestrator.domain.state import JobState, Reason
from orchestrator.store import ahead, clusters, moves, queue
from tests.integration.store.clouds import RATE, STORES, checkpoint, copy, prices, running
from tests.integration.store.plane import Plane, command, upload


def _move(plane: Plane, attempt: AttemptId, to: str) -> Any:
    with plane.database.transaction() as connection:
        return moves.begin(connection, attempt.job_id, to, prices, RATE, "ada")


def test_a_running_job_is_asked_and_goes_on_where_it_was_sent(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers)
    checkpoint(plane, attempt, 7)
    view = _move(plane, attempt, "gcp")
    assert (view.source, view.target, view.step) == ("aws", "gcp", 7)
    assert view.bytes_to_move == 2 * 1024**3
    assert view.egress_usd == pytest.approx(0.18)
    assert plane.heartbeat(workers["aws"], attempt).move == (str(attempt),)
    plane.report(workers["aws"], attempt, Reason.MIGRATING)
    job = plane.job(attempt.job_id)
    assert (job.state, job.moved_to) == ("DISPATCHED", "gcp"), "to the slot that was kept for it"
    assert (job.user_failures, job.infra_failures, job.preemptions) == (0, 0, 0)
    assert plane.attempt(attempt).state == "PREEMPTED"
    assert Shape.of(command(placement=Placement(clouds=(Cloud.AWS,)))).clouds == (Cloud.AWS,)
    assert job.document["spec"]["placement"] == {"clouds": ["aws"]}, "the spec stays as it was"
    (lease,) = plane.claim(workers["gcp"])
    assert lease.resume is not None
    assert (lease.resume.step, lease.resume.store) == (7, STORES["aws"])


def test_a_slot_is_kept_for_a_job_that_is_on_its_way(plane: Plane, workers: dict[str, int]) -> None:
    plane.sql("UPDATE workers SET slots = 1 WHERE id = :id", id=workers["gcp"])
    attempt = running(plane, workers)
    _move(plane, attempt, "gcp")
    (other,) = plane.submit(command(placement=Placement(clouds=(Cloud.GCP,))))
    plane.dispatch()
    assert plane.state(other) is JobState.QUEUED, "the slot is taken"
    second = running(plane, workers)
    with pytest.raises(NoPlace, match=r"gcp is full\. gcp: no slot of 1 is free"):
        _move(plane, second, "gcp")
    plane.report(workers["aws"], attempt, Reason.MIGRATING)
    assert [one.attempt for one in plane.claim(workers["gcp"])] == [str(AttemptId(attempt.job_id, 2))]


def test_a_job_that_stops_to_go_where_a_cluster_drains_by_then_goes_elsewhere(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = running(plane, workers)
    _move(plane, attempt, "gcp")
    with plane.database.transaction() as connection:
        clusters.create(connection, CreateCluster(name="kube", kind=ClusterKind.KUBECONFIG))
        clusters.drain(connection, "kube", draining=True)
    plane.sql("UPDATE pools SET cluster_id = (SELECT id FROM clusters) WHERE name = 'gcp'")
    plane.report(workers["aws"], attempt, Reason.MIGRATING)
    assert (plane.job(attempt.job_id).state, plane.job(attempt.job_id).reason) == ("QUEUED", "migrating")
    plane.dispatch()
    assert [one.attempt for one in plane.claim(workers["aws"])] == [str(AttemptId(attempt.job_id, 2))]
    with pytest.raises(NoPlace, match="gcp: fits, but its workers are draining"):
        _move(plane, AttemptId(attempt.job_id, 2), "gcp")


def test_a_job_runs_on_while_a_copy_goes_ahead_and_follows_when_it_has_arrived(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = running(plane, workers)
    for step in (6, 7):
        checkpoint(plane, attempt, step, size=1000)
    with plane.database.transaction() as connection:
        assert [one.step for one in ahead.recent(connection, attempt.job_id)] == [7, 6]
        view = moves.begin(connection, attempt.job_id, "gcp", prices, RATE, "ada", shared=900)
    assert (view.bytes_ahead, view.bytes_to_move) == (1000, 1100)

    def follow() -> int:
        with plane.database.transaction() as connection:
            return ahead.follow(connection)

    assert plane.heartbeat(workers["aws"], attempt).move == ()
    with pytest.raises(Conflict, match="on its way to gcp"):
        _move(plane, attempt, "azure")
    plane.dispatch()
    leases = [lease for worker in workers.values() for lease in plane.claim(worker)]
    (copy,) = [lease for lease in leases if lease.document["kind"] == "Transfer"]
    assert follow() == 0
    assert copy.order is not None
    there = copy.order.target
    (row,) = plane.sql("SELECT p.cloud FROM attempts a JOIN pools p ON p.id = a.pool_id ORDER BY a.job_id DESC LIMIT 1")
    landed = upload(attempt, plane.workspace).model_copy(
        update={"store": there.store, "prefix": there.prefix, "digest": copy.order.digest}
    )
    plane.report(workers[row.cloud], decode_attempt(copy.attempt), output=landed)
    assert follow() == 1
    assert plane.heartbeat(workers["aws"], attempt).move == (str(attempt),)
    assert follow() == 0


@pytest.mark.parametrize(
    ("there", "inputs", "state", "shared", "planned"),
    [(True, 1, 5, 4, (1, 0, 1)), (False, 100, 10, 9, (111, 10, 101))],
    ids=["the checkpoint is there", "the checkpoint is small beside the inputs"],
)
def test_only_of_the_checkpoint_a_part_goes_ahead(
    plane: Plane,
    workers: dict[str, int],
    *,
    there: bool,
    inputs: int,
    state: int,
    shared: int,
    planned: tuple[int, int, int],
) -> None:
    maker = running(plane, workers)
    made = upload(maker, plane.workspace).model_copy(update={"store": STORES["aws"], "size": inputs * GIB})
    plane.report(workers["aws"], maker, output=made)
    (data,) = plane.sql("SELECT id FROM artifacts")
    attempt = running(plane, workers, inputs={"data": f"artifact://{encode('a', data.id)}"})
    newest = checkpoint(plane, attempt, 7, size=state * GIB)
    if there:
        copy(plane, newest, "gcp")
    with plane.database.transaction() as connection:
        view, _ = moves.plan(connection, attempt.job_id, "gcp", prices, RATE, shared=shared * GIB)
    moved, early, late = planned
    assert (view.bytes_to_move / GIB, view.bytes_ahead / GIB) == (moved, early)
    assert view.egress_usd == pytest.approx(0.09 * moved)
    assert view.downtime_seconds == round(late * GIB / RATE + moves.START_SECONDS, 1)


def test_a_copy_that_nobody_makes_holds_no_job_up(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers)
    checkpoint(plane, attempt, 7, size=1000)
    with plane.database.transaction() as connection:
        moves.begin(connection, attempt.job_id, "gcp", prices, RATE, "ada", shared=900)
        plane_jobs = "SELECT id FROM jobs WHERE kind = 'Transfer'"
        assert ahead.follow(connection) == 0
        (copy,) = connection.execute(text(plane_jobs)).scalars()
        values = {"id": copy, "seconds": ahead.WAITS_SECONDS}
        late = "UPDATE jobs SET created_at = created_at - :seconds * interval '1 second' WHERE id = :id"
        connection.execute(text(late), values)
        assert ahead.follow(connection) == 1


def test_a_copy_that_takes_too_long_holds_no_job_up(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers)
    checkpoint(plane, attempt, 7, size=600 * ahead.SLOWEST)
    with plane.database.transaction() as connection:
        moves.begin(connection, attempt.job_id, "gcp", prices, RATE, "ada", shared=590 * ahead.SLOWEST)
    plane.dispatch()
    assert [lease.document["kind"] for worker in workers.values() for lease in plane.claim(worker)] == ["Transfer"]

    def follow(after: float) -> int:
        then = "UPDATE jobs SET created_at = clock_timestamp() - :after * interval '1 second' WHERE kind = 'Transfer'"
        plane.sql(then, after=after)
        with plane.database.transaction() as connection:
            return ahead.follow(connection)

    with plane.database.transaction() as connection, pytest.raises(Conflict, match="on its way to gcp"):
        moves.ask_for_checkpoint(connection, attempt.job_id, "ada")
    assert [follow(after=500), follow(after=700)] == [0, 1]
    assert "is not waited for any longer" in plane.job(attempt.job_id).message
    assert plane.heartbeat(workers["aws"], attempt).move == (str(attempt),)


@pytest.mark.parametrize("reason", [Reason.LEASE_LOST, Reason.WORKER_LOST, Reason.PREEMPTED])
def test_however_the_attempt_ends_the_job_goes_where_it_was_sent(
    plane: Plane, workers: dict[str, int], reason: Reason
) -> None:
    attempt = running(plane, workers)
    _move(plane, attempt, "azure")
    with plane.database.transaction() as connection:
        queue._lose(connection, [attempt], reason, "It ended.", "test")
    plane.sql("UPDATE jobs SET not_before = NULL")
    plane.dispatch()
    assert [one.attempt for one in plane.claim(workers["azure"])] == [str(AttemptId(attempt.job_id, 2))]


def test_a_job_that_succeeds_before_it_hears_of_the_move_has_succeeded(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers)
    _move(plane, attempt, "gcp")
    plane.report(workers["aws"], attempt, Reason.SUCCEEDED)
    assert plane.state(attempt.job_id) is JobState.SUCCEEDED


def test_what_stands_in_the_way_is_said_before_anything_changes(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers)
    before = plane.everything()
    for to, error in (("aws", Conflict), ("local", NoPlace)):
        with pytest.raises(error):
            _move(plane, attempt, to)
    assert plane.everything() == before
    _move(plane, attempt, "gcp")
    with pytest.raises(Conflict, match="on its way to gcp"):
        _move(plane, attempt, "azure")


def test_a_plan_leaves_nothing_behind_not_even_the_trace_of_a_lock(plane: Plane, workers: dict[str, int]) -> None:
    """The audit takes a transaction that has a number for one that has changed something."""
    attempt = running(plane, workers)
    with plane.database.transaction() as connection:
        moves.plan(connection, attempt.job_id, "gcp", prices, RATE)
        assert connection.execute(text("SELECT pg_current_xact_id_if_assigned()")).scalar_one() is None


def test_a_moved_job_stays_while_there_are_workers_and_leaves_when_there_are_none(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = running(plane, workers, Cloud.AWS, Cloud.AZURE)
    _move(plane, attempt, "gcp")
    plane.report(workers["aws"], attempt, Reason.MIGRATING)
    plane.dispatch()
    assert plane.claim(workers["aws"], 4) == plane.claim(workers["azure"], 4) == ()
    (lease,) = plane.claim(workers["gcp"])
    plane.sql("UPDATE workers SET heartbeat_at = heartbeat_at - interval '1 hour' WHERE id = :id", id=workers["gcp"])
    plane.expire(AttemptId(attempt.job_id, 2))
    with plane.database.transaction() as connection:
        queue.expire_leases(connection, "test")
    plane.sql("UPDATE jobs SET not_before = NULL")
    plane.dispatch()
    assert plane.state(attempt.job_id) is JobState.DISPATCHED
    assert len(plane.claim(workers["aws"]) + plane.claim(workers["azure"])) == 1
    assert lease.attempt == str(AttemptId(attempt.job_id, 2))
