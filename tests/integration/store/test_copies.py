"""Copies of artifacts, as the database sees them: the last good one stays, and one that was moved away stays away."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.ids import AttemptId, decode, decode_attempt, encode
from orchestrator.domain.protocol import StagedInput, StagedInputs
from orchestrator.domain.spec import Outputs
from orchestrator.domain.state import Reason
from orchestrator.store import checkpoints, components, doubts, inputs, jobs, readers, replicas, transfers
from tests.integration.store.plane import STORE, Plane, command, upload

OTHER = "gs://bucket"


@pytest.fixture
def artifact(plane: Plane) -> int:
    """An artifact with a copy in the store of the pool, and one elsewhere."""
    worker = plane.worker()
    attempt = plane.running(worker, command(outputs=Outputs(model="digits")))
    plane.report(worker, attempt, output=upload(attempt, plane.workspace))
    (row,) = plane.sql("SELECT id FROM artifacts")
    plane.sql("INSERT INTO replicas (artifact_id, store, prefix) VALUES (:id, :store, 'copy')", id=row.id, store=OTHER)
    made: int = row.id
    return made


def _states(plane: Plane) -> dict[str, str]:
    return {row.store: row.state for row in plane.sql("SELECT store, state FROM replicas")}


def _retire(plane: Plane, artifact: int, store: str) -> None:
    with plane.database.transaction() as connection:
        replicas.retire(connection, artifact, store)


def _remove_stale(plane: Plane) -> int:
    with plane.database.transaction() as connection:
        return replicas.remove_stale(connection, 0.0)


def test_a_retired_copy_stays_while_the_only_other_one_is_being_given_up(plane: Plane, artifact: int) -> None:
    _retire(plane, artifact, STORE)
    with plane.database.transaction() as connection:
        assert replicas.lose(connection, artifact, OTHER, "It is damaged.") == "verified"
        assert _remove_stale(plane) == 0
    assert _remove_stale(plane) == 0
    assert _states(plane) == {STORE: "verified", OTHER: "lost"}
    _retire(plane, artifact, STORE)
    plane.sql("UPDATE replicas SET state = 'verified' WHERE store = :store", store=OTHER)
    assert _remove_stale(plane) == 1
    assert _states(plane) == {OTHER: "verified"}


def test_a_copy_that_was_moved_away_while_it_was_checked_is_dropped_and_not_mended(plane: Plane, artifact: int) -> None:
    with plane.database.transaction() as connection:
        check = transfers.check(connection, plane.workspace, "ada", artifact_id=artifact, store=STORE)
    plane.dispatch()
    worker = plane.worker()
    plane.claim(worker)
    _retire(plane, artifact, STORE)
    plane.report(worker, AttemptId(check, 1), Reason.DAMAGED)
    assert plane.sql("SELECT FROM jobs WHERE kind = 'Transfer'") == []
    assert _states(plane) == {OTHER: "verified"}
    assert [row.store for row in plane.sql("SELECT store FROM garbage")] == [STORE]


def test_a_check_waits_for_no_backlog(plane: Plane, artifact: int) -> None:
    older = plane.submit(*(command() for _ in range(20)))
    with plane.database.transaction() as connection:
        check = transfers.check(connection, plane.workspace, "ada", artifact_id=artifact, store=STORE)
    plane.dispatch()
    worker = plane.worker()
    claimed = {decode_attempt(lease.attempt).job_id for lease in plane.claim(worker, 2)}
    assert claimed == {check, older[0]}


def test_a_copy_that_is_being_made_is_not_looked_for_in_its_store(plane: Plane, artifact: int) -> None:
    plane.pool("gcp", cloud="gcp", store=OTHER)
    plane.sql(
        "UPDATE replicas SET state = 'copying', job_id = (SELECT job_id FROM artifacts) WHERE artifact_id = :id "
        "AND store = :store",
        id=artifact,
        store=OTHER,
    )
    with plane.database.transaction() as connection:
        watched = {one.uri: one.prefix for one in components.stores_to_watch(connection)}
    assert watched[OTHER] is None
    assert watched[STORE] is not None


def test_migrations_are_found_by_their_model_and_while_they_are_under_way(plane: Plane, artifact: int) -> None:
    def started(model: str | None, store: str) -> str:
        with plane.database.transaction() as connection:
            made = transfers.start(
                connection,
                plane.workspace,
                "ada",
                artifact_id=artifact,
                source=STORE,
                destination=store,
                model=model,
            )
        return encode("j", made)

    def page(model: str | None, *, open_only: bool) -> list[str]:
        with plane.database.transaction() as connection:
            found, _ = transfers.page(
                connection, plane.workspace, model=model, open_only=open_only, before=None, limit=10
            )
        return [one.id for one in found]

    ended, checkpoint, going = started("digits@1", "gs://a"), started(None, "gs://b"), started("digits@1", "gs://c")
    with plane.database.transaction() as connection:
        jobs.cancel(connection, decode("j", ended), "ada")
    assert page(None, open_only=False) == [going, checkpoint, ended]
    assert page(None, open_only=True) == [going, checkpoint]
    assert page("digits", open_only=False) == [going, ended]
    assert page("digits", open_only=True) == [going]
    assert page("digit", open_only=False) == []


def test_a_copy_that_was_moved_away_stays_while_somebody_reads_it(plane: Plane, artifact: int) -> None:
    plane.submit(command(inputs={"base": "model://digits", "same": f"artifact://{encode('a', artifact)}"}))
    plane.dispatch()
    (lease,) = plane.claim(plane.worker())
    assert [(one.name, one.ref) for one in lease.inputs] == [("base", "digits@1"), ("same", encode("a", artifact))]
    assert [place.store for place in lease.inputs[0].sources] == [STORE, OTHER], "its own store first"
    _retire(plane, artifact, STORE)
    assert _remove_stale(plane) == 0, "it may be taking its inputs from there"
    told = StagedInputs(
        attempt=lease.attempt, inputs=tuple(StagedInput(name=one.name, store=STORE) for one in lease.inputs)
    )
    with plane.database.transaction() as connection:
        assert inputs.staged(connection, decode_attempt(lease.attempt), told) == []
        reader = readers.begin(connection, artifact, STORE)
    assert _remove_stale(plane) == 0, "somebody downloads it"
    with plane.database.transaction() as connection:
        readers.end(connection, reader)
    assert _remove_stale(plane) == 1
    assert _states(plane) == {OTHER: "verified"}


def test_a_copy_that_was_moved_away_stays_while_one_of_several_nodes_may_read_it(plane: Plane, artifact: int) -> None:
    plane.submit(command(inputs={"base": "model://digits"}))
    plane.dispatch()
    worker = plane.worker()
    (lease,) = plane.claim(worker)
    attempt = decode_attempt(lease.attempt)
    nodes = """UPDATE jobs SET document = jsonb_set(document, '{spec,resources}', '{"nodes": 2}') WHERE id = :id"""
    plane.sql(nodes, id=attempt.job_id)
    _retire(plane, artifact, STORE)
    with plane.database.transaction() as connection:
        told = StagedInputs(attempt=lease.attempt, inputs=(StagedInput(name="base", store=STORE),))
        inputs.staged(connection, attempt, told)
    assert _remove_stale(plane) == 0, "the other node may be slower"
    plane.report(worker, attempt)
    assert _remove_stale(plane) == 1


def test_one_request_looks_so_many_inputs_up_and_tells_so_many_faults(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_MOST", 3)
    monkeypatch.setattr(inputs, "_MOST_FAULTS", 2)

    def faults(count: int) -> list[str]:
        named = {f"i{number}": f"artifact://{encode('a', number + 1)}" for number in range(count)}
        with pytest.raises(InvalidSpec) as refused:
            plane.submit(command(inputs=named), command(inputs=named))
        return [one.message for one in refused.value.errors]

    assert len(faults(3)) == 2
    assert faults(4) == ["4 different addresses in one request; at most 3 are looked up"]


def test_a_copy_in_which_a_reader_found_damage_is_checked_once(plane: Plane, artifact: int) -> None:
    for _ in range(2):
        with plane.database.transaction() as connection:
            doubts.look_into(connection, plane.workspace, artifact, OTHER)
    (check,) = plane.sql("SELECT id, user_name FROM jobs WHERE kind = 'Verify'")
    assert check.user_name == transfers.SYSTEM
    plane.dispatch()
    worker = plane.worker()
    plane.claim(worker)
    plane.report(worker, AttemptId(check.id, 1))
    with plane.database.transaction() as connection:
        doubts.look_into(connection, plane.workspace, artifact, OTHER)
    assert len(plane.sql("SELECT FROM jobs WHERE kind = 'Verify'")) == 1, "it has just been found whole"


def test_a_checkpoint_that_a_job_reads_outlives_its_successors(plane: Plane) -> None:
    worker = plane.worker()
    attempt = plane.running(worker, command(checkpoints={"keep": 1}))

    def commit(step: int) -> int:
        published = upload(attempt, plane.workspace, f"checkpoints/{step}")
        with plane.database.transaction() as connection:
            return checkpoints.commit(connection, attempt, step, published)[0]

    read = commit(1)
    (reader,) = plane.submit(command(inputs={"state": f"artifact://{encode('a', read)}"}))
    commit(2)
    assert plane.sql("SELECT FROM artifacts WHERE id = :id", id=read)
    with plane.database.transaction() as connection:
        jobs.cancel(connection, reader, "ada")
    commit(3)
    assert plane.sql("SELECT FROM artifacts WHERE id = :id", id=read) == []
    assert [row.artifact_id for row in plane.sql("SELECT artifact_id FROM job_inputs")] == [None]


def test_a_source_in_which_a_transfer_finds_damage_is_checked(plane: Plane, artifact: int) -> None:
    with plane.database.transaction() as connection:
        transfers.start(
            connection,
            plane.workspace,
            "ada",
            artifact_id=artifact,
            source=STORE,
            destination="gs://to",
            model="digits@1",
        )
    plane.dispatch()
    worker = plane.worker()
    (lease,) = plane.claim(worker)
    plane.report(worker, decode_attempt(lease.attempt), Reason.DAMAGED, damaged=(STORE, "gs://unknown"))
    rows = plane.sql("SELECT user_name, document #>> '{spec,store}' AS store FROM jobs WHERE kind = 'Verify'")
    assert [tuple(row) for row in rows] == [("neutrino", STORE)]
