"""Jobs that go elsewhere, as the database sees them: asked, queued, placed, resumed; refused, and copied ahead."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.domain.errors import Conflict, LeaseLost, NoPlace
from orchestrator.domain.ids import AttemptId, decode_attempt, encode
from orchestrator.domain.placement import Shape
from orchestrator.domain.pods import ClusterKind, CreateCluster
from orchestrator.domain.protocol import ArtifactUpload, Resumed, Skipped
from orchestrator.domain.quantities import GIB
from orchestrator.domain.spec import Checkpoints, Cloud, Placement
from orchestrator.domain.state import JobState, Reason
from orchestrator.store import ahead, attempts, checkpoints, clusters, explain, moves, queue, recovery, standby
from orchestrator.store.fence import Holder
from tests.integration.store.plane import Plane, command, upload

STORES = {"aws": "s3://bucket", "gcp": "gs://bucket", "azure": "az://bucket"}
_USD = {("aws", "gcp"): 0.09, ("aws", "azure"): 0.12, ("gcp", "azure"): 0.11}
RATE = 100 * 1024**2


def prices(source: tuple[str, str], destination: tuple[str, str]) -> float:
    """USD per GiB."""
    return _USD.get((source[0], destination[0]), 0.0)


@pytest.fixture
def workers(plane: Plane) -> dict[str, int]:
    """A worker on each cloud."""
    for cloud, store in STORES.items():
        plane.pool(cloud, cloud=cloud, store=store)
    return {cloud: plane.worker(cloud) for cloud in STORES}


def _running(plane: Plane, workers: dict[str, int], *clouds: Cloud, **fields: Any) -> AttemptId:
    """An attempt on aws."""
    return plane.running(workers["aws"], command(placement=Placement(clouds=clouds or (Cloud.AWS,)), **fields))


def _checkpoint(plane: Plane, attempt: AttemptId, step: int, cloud: str = "aws", size: int = 2 * 1024**3) -> int:
    where = upload(attempt, plane.workspace, f"c{step}").model_copy(update={"store": STORES[cloud], "size": size})
    with plane.database.transaction() as connection:
        return checkpoints.commit(connection, attempt, step, where)[0]


def _copy(plane: Plane, artifact: int, cloud: str) -> None:
    """A verified copy in another store."""
    plane.sql(
        "INSERT INTO replicas (artifact_id, store, prefix) VALUES (:id, :store, :prefix)",
        id=artifact,
        store=STORES[cloud],
        prefix=f"copy/{artifact}",
    )


def _move(plane: Plane, attempt: AttemptId, to: str) -> Any:
    with plane.database.transaction() as connection:
        return moves.begin(connection, attempt.job_id, to, prices, RATE, "ada")


def test_a_running_job_is_asked_and_goes_on_where_it_was_sent(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers)
    _checkpoint(plane, attempt, 7)
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
    attempt = _running(plane, workers)
    _move(plane, attempt, "gcp")
    (other,) = plane.submit(command(placement=Placement(clouds=(Cloud.GCP,))))
    plane.dispatch()
    assert plane.state(other) is JobState.QUEUED, "the slot is taken"
    second = _running(plane, workers)
    with pytest.raises(NoPlace, match=r"gcp is full\. gcp: no slot of 1 is free"):
        _move(plane, second, "gcp")
    plane.report(workers["aws"], attempt, Reason.MIGRATING)
    assert [one.attempt for one in plane.claim(workers["gcp"])] == [str(AttemptId(attempt.job_id, 2))]


def test_a_job_that_stops_to_go_where_a_cluster_drains_by_then_goes_elsewhere(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = _running(plane, workers)
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
    attempt = _running(plane, workers)
    for step in (6, 7):
        _checkpoint(plane, attempt, step, size=1000)
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
    maker = _running(plane, workers)
    made = upload(maker, plane.workspace).model_copy(update={"store": STORES["aws"], "size": inputs * GIB})
    plane.report(workers["aws"], maker, output=made)
    (data,) = plane.sql("SELECT id FROM artifacts")
    attempt = _running(plane, workers, inputs={"data": f"artifact://{encode('a', data.id)}"})
    newest = _checkpoint(plane, attempt, 7, size=state * GIB)
    if there:
        _copy(plane, newest, "gcp")
    with plane.database.transaction() as connection:
        view, _ = moves.plan(connection, attempt.job_id, "gcp", prices, RATE, shared=shared * GIB)
    moved, early, late = planned
    assert (view.bytes_to_move / GIB, view.bytes_ahead / GIB) == (moved, early)
    assert view.egress_usd == pytest.approx(0.09 * moved)
    assert view.downtime_seconds == round(late * GIB / RATE + moves.START_SECONDS, 1)


def test_a_copy_that_nobody_makes_holds_no_job_up(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers)
    _checkpoint(plane, attempt, 7, size=1000)
    with plane.database.transaction() as connection:
        moves.begin(connection, attempt.job_id, "gcp", prices, RATE, "ada", shared=900)
        plane_jobs = "SELECT id FROM jobs WHERE kind = 'Transfer'"
        assert ahead.follow(connection) == 0
        (copy,) = connection.execute(text(plane_jobs)).scalars()
        values = {"id": copy, "seconds": ahead.WAITS_SECONDS}
        late = "UPDATE jobs SET created_at = created_at - :seconds * interval '1 second' WHERE id = :id"
        connection.execute(text(late), values)
        assert ahead.follow(connection) == 1


@pytest.mark.parametrize("reason", [Reason.LEASE_LOST, Reason.WORKER_LOST, Reason.PREEMPTED])
def test_however_the_attempt_ends_the_job_goes_where_it_was_sent(
    plane: Plane, workers: dict[str, int], reason: Reason
) -> None:
    attempt = _running(plane, workers)
    _move(plane, attempt, "azure")
    with plane.database.transaction() as connection:
        queue._lose(connection, [attempt], reason, "It ended.", "test")
    plane.sql("UPDATE jobs SET not_before = NULL")
    plane.dispatch()
    assert [one.attempt for one in plane.claim(workers["azure"])] == [str(AttemptId(attempt.job_id, 2))]


def test_a_job_that_succeeds_before_it_hears_of_the_move_has_succeeded(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers)
    _move(plane, attempt, "gcp")
    plane.report(workers["aws"], attempt, Reason.SUCCEEDED)
    assert plane.state(attempt.job_id) is JobState.SUCCEEDED


def test_what_stands_in_the_way_is_said_before_anything_changes(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers)
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
    attempt = _running(plane, workers)
    with plane.database.transaction() as connection:
        moves.plan(connection, attempt.job_id, "gcp", prices, RATE)
        assert connection.execute(text("SELECT pg_current_xact_id_if_assigned()")).scalar_one() is None


def test_a_moved_job_stays_while_there_are_workers_and_leaves_when_there_are_none(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = _running(plane, workers, Cloud.AWS, Cloud.AZURE)
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


def test_the_newest_checkpoint_comes_first_and_its_nearest_copy(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers, Cloud.AWS, Cloud.GCP)
    older, newer = _checkpoint(plane, attempt, 1), _checkpoint(plane, attempt, 2)
    _copy(plane, older, "gcp")
    _copy(plane, newer, "azure")
    places = plane.sql("SELECT id, name FROM pools")
    with plane.database.transaction() as connection:
        found = {
            pool.name: [
                (one.step, one.store[:2])
                for one in checkpoints.resumable(connection, [attempt.job_id], pool.id)[attempt.job_id]
            ]
            for pool in places
        }
    assert found["gcp"] == [(2, "az"), (2, "s3"), (1, "gs"), (1, "s3")]
    assert found["aws"] == [(2, "s3"), (2, "az"), (1, "s3"), (1, "gs")]
    plane.sql("UPDATE replicas SET state = 'lost' WHERE store = 's3://bucket'")
    with plane.database.transaction() as connection:
        left = checkpoints.resumable(connection, [attempt.job_id], places[0].id)[attempt.job_id]
    assert [(one.step, one.store[:2]) for one in left] == [(2, "az"), (1, "gs")]


def test_of_every_store_the_newest_stays_and_copies_elsewhere_become_garbage(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = _running(plane, workers, checkpoints=Checkpoints(keep=1))
    for step in (1, 2):
        _copy(plane, _checkpoint(plane, attempt, step), "gcp")
    _checkpoint(plane, attempt, 3)
    _checkpoint(plane, attempt, 4)
    assert [row.step for row in plane.sql("SELECT step FROM artifacts ORDER BY id")] == [2, 4]
    assert [(row.store, row.prefix[:4]) for row in plane.sql("SELECT store, prefix FROM garbage")] == [
        (STORES["gcp"], "copy")
    ]


def test_what_an_attempt_had_to_pass_over_is_in_its_jobs_history(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers)
    told = Resumed(
        attempt=str(attempt), step=3, store="gs://b", skipped=(Skipped(step=5, store="s3://a", why="It is gone."),)
    )
    with plane.database.transaction() as connection:
        attempts.resumed(connection, Holder(), attempt, told)
    assert plane.attempt(attempt).resumed_from_step == 3
    event = plane.sql("SELECT * FROM events ORDER BY id DESC LIMIT 1")[0]
    assert (event.source, event.target, event.reason) == ("RUNNING", "RUNNING", "resumed_elsewhere")
    assert event.message == (
        "Resumed from the checkpoint at step 3 in gs://b. Step 5 could not be had from s3://a: It is gone."
    )
    plane.expire(attempt)
    with pytest.raises(LeaseLost), plane.database.transaction() as connection:
        attempts.resumed(connection, Holder(), attempt, told)


def test_a_place_that_cannot_take_a_job_comes_last_and_every_try_is_told(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers, Cloud.AWS, Cloud.GCP)
    plane.report(workers["aws"], attempt, Reason.NO_CAPACITY)
    plane.dispatch()
    (second,) = plane.claim(workers["gcp"])
    assert second.attempt == str(AttemptId(attempt.job_id, 2))
    plane.report(workers["gcp"], AttemptId(attempt.job_id, 2), Reason.QUOTA_EXCEEDED)
    job = plane.job(attempt.job_id)
    assert job.state == "QUEUED"
    assert job.not_before is not None, "all have refused: they are asked anew a little later"
    assert Shape.model_validate_json(job.shape).refused_by == ()
    assert (job.user_failures, job.infra_failures) == (0, 0)
    with plane.database.transaction() as connection:
        why = explain.why(connection, attempt.job_id)
    assert [(one.pool, one.reason) for one in why.tried] == [("gcp", "quota_exceeded"), ("aws", "no_capacity")]


def test_gravity_is_counted_priced_and_decides(plane: Plane, workers: dict[str, int]) -> None:
    attempt = _running(plane, workers, *Cloud)
    _copy(plane, _checkpoint(plane, attempt, 1), "gcp")
    plane.sql("UPDATE workers SET draining = true WHERE id = :id", id=workers["aws"])
    plane.report(workers["aws"], attempt, Reason.PREEMPTED)
    with plane.database.transaction() as connection:
        why = explain.why(connection, attempt.job_id, prices)
    assert {one.pool: (one.bytes_to_move, one.egress_usd) for one in why.considered if one.pool in STORES} == {
        "aws": (0, 0.0),
        "gcp": (0, 0.0),
        "azure": (2 * 1024**3, 0.22),
    }
    assert "2.0 GiB to move for $0.22" in next(one.verdict for one in why.considered if one.pool == "azure")
    plane.dispatch()
    assert len(plane.claim(workers["gcp"])) == 1


def test_a_standby_gets_the_newest_one_at_a_time_and_rests_after_a_failure(
    plane: Plane, workers: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "_AT_ONCE", 1)
    spec = command(placement=Placement(clouds=(Cloud.AWS,), standby=Cloud.GCP))
    attempt = plane.running(workers["aws"], spec)

    def replicate() -> int:
        with plane.database.transaction() as connection:
            return standby.replicate(connection)

    assert replicate() == 0
    _checkpoint(plane, attempt, 1)
    assert [replicate(), replicate()] == [1, 0]
    _checkpoint(plane, attempt, 2)
    _checkpoint(plane, attempt, 3)
    assert replicate() == 0, "one is on its way"
    (transfer,) = plane.sql("SELECT * FROM jobs WHERE kind = 'Transfer'")
    assert transfer.name == f"standby-{encode('j', attempt.job_id)}"
    with plane.database.transaction() as connection:
        assert recovery.view(connection, attempt.job_id).behind == 3  # type: ignore[union-attr]
    plane.dispatch()
    (lease,) = plane.claim(workers["gcp"]) or plane.claim(workers["aws"])
    assert lease.order is not None
    with plane.database.transaction() as connection, pytest.raises(Conflict, match="copies or checks"):
        moves.ask_for_checkpoint(connection, transfer.id, "ada")
    with plane.database.transaction() as connection, pytest.raises(Conflict, match="copies or checks"):
        moves.plan(connection, transfer.id, "azure", prices, RATE)
    (row,) = plane.sql("SELECT step FROM artifacts c JOIN replicas r ON artifact_id = id WHERE r.state = 'copying'")
    assert row.step == 1, "it is kept while it is being copied"
    copied = ArtifactUpload(
        store=lease.order.target.store, prefix=lease.order.target.prefix, digest=lease.order.digest, size=3, files=1
    )
    holder = plane.sql("SELECT worker_id FROM attempts WHERE job_id = :id", id=transfer.id)[0].worker_id
    plane.report(holder, AttemptId(transfer.id, 1), Reason.SUCCEEDED, copied)
    with plane.database.transaction() as connection:
        seen = recovery.view(connection, attempt.job_id)
    assert seen is not None
    assert (seen.cloud, seen.step, seen.behind) == ("gcp", 1, 2)
    assert seen.message.startswith("gcp has the checkpoint of step 1, ")
    assert replicate() == 1
    (newest,) = plane.sql("SELECT step FROM artifacts c JOIN replicas r ON artifact_id = id WHERE r.state = 'copying'")
    assert newest.step == 3, "the one between is left out"
    plane.sql("UPDATE workers SET draining = false")
    plane.dispatch()
    for worker in workers.values():
        for one in plane.claim(worker):
            plane.report(worker, AttemptId(transfer.id + 1, 1), Reason.INVALID_OUTPUT)
            assert one.order is not None
    assert replicate() == 0, "after a failure it rests"
    _checkpoint(plane, plane.running(workers["aws"], spec), 1)
    assert replicate() == 1, "and holds up nobody else"


def test_an_interruption_is_from_the_last_number_before_it_to_the_first_after_it(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = _running(plane, workers)
    plane.append(attempt, at=100.0, points=[("loss", 1, 0.5)])
    plane.append(attempt, seq=2, at=107.5, points=[("loss", 2, 0.4)])
    plane.append(attempt, seq=3, at=110.0, points=[("sys/cpu", 2, 1.0)])
    plane.report(workers["aws"], attempt, Reason.PREEMPTED)
    plane.dispatch()
    plane.claim(workers["aws"])

    def seconds() -> float | None:
        with plane.database.transaction() as connection:
            return recovery.interruption(connection, attempt.job_id)

    again = AttemptId(attempt.job_id, 2)
    plane.append(again, at=108.0, points=[("sys/cpu", 0, 1.0)])
    assert seconds() is None
    plane.append(again, seq=2, at=112.0, points=[("loss", 3, 0.3)])
    plane.append(again, seq=3, at=120.0, points=[("loss", 4, 0.2)])
    assert seconds() == 4.5
