"""From where a job goes on: the checkpoints it finds, copies elsewhere, their price, and what it had to pass over."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import Conflict, LeaseLost
from orchestrator.domain.ids import AttemptId, encode
from orchestrator.domain.placement import Shape
from orchestrator.domain.protocol import ArtifactUpload, Resumed, Skipped
from orchestrator.domain.spec import Checkpoints, Cloud, Placement
from orchestrator.domain.state import Reason
from orchestrator.store import attempts, checkpoints, explain, jobs, moves, recovery, standby
from orchestrator.store.fence import Holder
from tests.integration.store.clouds import RATE, STORES, checkpoint, copy, prices, running
from tests.integration.store.plane import Plane, command


def test_the_newest_checkpoint_comes_first_and_its_nearest_copy(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers, Cloud.AWS, Cloud.GCP)
    older, newer = checkpoint(plane, attempt, 1), checkpoint(plane, attempt, 2)
    copy(plane, older, "gcp")
    copy(plane, newer, "azure")
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
    attempt = running(plane, workers, checkpoints=Checkpoints(keep=1))
    for step in (1, 2):
        copy(plane, checkpoint(plane, attempt, step), "gcp")
    checkpoint(plane, attempt, 3)
    checkpoint(plane, attempt, 4)
    assert [row.step for row in plane.sql("SELECT step FROM artifacts ORDER BY id")] == [2, 4]
    assert [(row.store, row.prefix[:4]) for row in plane.sql("SELECT store, prefix FROM garbage")] == [
        (STORES["gcp"], "copy")
    ]


def test_what_an_attempt_had_to_pass_over_is_in_its_jobs_history(plane: Plane, workers: dict[str, int]) -> None:
    attempt = running(plane, workers)
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
    attempt = running(plane, workers, Cloud.AWS, Cloud.GCP)
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
    attempt = running(plane, workers, *Cloud)
    copy(plane, checkpoint(plane, attempt, 1), "gcp")
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
    checkpoint(plane, attempt, 1)
    assert [replicate(), replicate()] == [1, 0]
    checkpoint(plane, attempt, 2)
    checkpoint(plane, attempt, 3)
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
    checkpoint(plane, plane.running(workers["aws"], spec), 1)
    assert replicate() == 1, "and holds up nobody else"


def test_an_interruption_is_from_the_last_number_before_it_to_the_first_after_it(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = running(plane, workers)
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


def test_a_standby_copy_that_is_lost_is_made_again_and_given_up_when_the_job_has_ended(
    plane: Plane, workers: dict[str, int]
) -> None:
    attempt = plane.running(workers["aws"], command(placement=Placement(clouds=(Cloud.AWS,), standby=Cloud.GCP)))
    copy(plane, checkpoint(plane, attempt, 1), "gcp")

    def replicate() -> int:
        with plane.database.transaction() as connection:
            return standby.replicate(connection)

    assert replicate() == 0
    plane.sql("UPDATE replicas SET state = 'lost' WHERE store = :store", store=STORES["gcp"])
    assert [replicate(), replicate()] == [1, 0]
    plane.report(workers["aws"], attempt)
    assert replicate() == 0
    assert [row.state for row in plane.sql("SELECT state FROM jobs WHERE kind = 'Transfer'")] == ["CANCELLED"]


def test_checkpoints_go_long_after_the_end_of_their_job_unless_another_one_reads_them(
    plane: Plane, workers: dict[str, int]
) -> None:
    def forget() -> int:
        with plane.database.transaction() as connection:
            return checkpoints.forget_ended(connection, 30)

    def made() -> list[int]:
        return [row.id for row in plane.sql("SELECT id FROM artifacts ORDER BY id")]

    old, young, goes_on = (running(plane, workers) for _ in range(3))
    kept = [checkpoint(plane, attempt, step) for attempt in (old, young, goes_on) for step in (1, 2)]
    for attempt in (old, young):
        plane.report(workers["aws"], attempt, Reason.USER_ERROR)
    (reader,) = plane.submit(command(inputs={"start": f"artifact://{encode('a', kept[1])}"}))
    plane.sql("UPDATE jobs SET finished_at = finished_at - interval '31 days' WHERE id = :id", id=old.job_id)
    assert forget() == 1
    assert made() == kept[1:]
    with plane.database.transaction() as connection:
        jobs.cancel(connection, reader, "ada")
    assert forget() == 0
    plane.sql("UPDATE jobs SET finished_at = finished_at - interval '31 days' WHERE id = :id", id=reader)
    assert forget() == 1
    assert made() == kept[2:]
    assert len(plane.sql("SELECT FROM garbage")) == 2
