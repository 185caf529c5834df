"""What nothing refers to is deleted, and nothing else is; copies are checked in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_adapters.artifacts import list_keys, publish
from cloud_adapters.errors import TransientStoreError
from cloud_adapters.registry import open_store
from cloud_adapters.retrying import RetryingStore
from orchestrator.domain.artifact import MARK
from orchestrator.domain.ids import AttemptId, decode_attempt, encode
from orchestrator.domain.protocol import ArtifactUpload
from orchestrator.domain.spec import Outputs
from orchestrator.domain.state import Reason
from orchestrator.scheduler import janitor
from orchestrator.store.session import Database
from tests.integration.store.plane import Plane, command

DAY = "clock_timestamp() - interval '25 hours'"


@pytest.fixture
def plane(database_url: str) -> Iterator[Plane]:
    """A control plane without a pool."""
    database = Database(database_url)
    yield Plane(database)
    database.close()


@pytest.fixture
def store(plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RetryingStore:
    """The store of the pool."""
    monkeypatch.setenv("NEUTRINO_FILE_ROOTS", str(tmp_path))
    uri = (tmp_path / "store").as_uri()
    plane.pool(store=uri)
    return open_store(uri)


def started(plane: Plane, worker: int, count: int) -> list[AttemptId]:
    """Attempts of so many new jobs."""
    plane.submit(*(command() for _ in range(count)))
    plane.dispatch()
    return [decode_attempt(lease.attempt) for lease in plane.claim(worker, count)]


def upload(plane: Plane, store: RetryingStore, folder: Path, attempt: AttemptId, name: str) -> ArtifactUpload:
    """An artifact of an attempt, in the store."""
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_bytes(b"weights")
    prefix = f"artifacts/{plane.workspace}/{attempt}/{name}"
    manifest = publish(store, prefix, folder)
    return ArtifactUpload(store=store.uri, prefix=prefix, digest=manifest.digest, size=7, files=1)


def test_only_uploads_of_attempts_that_ended_long_ago_without_a_row_are_deleted(
    plane: Plane, store: RetryingStore, tmp_path: Path
) -> None:
    worker = plane.worker()
    lost, done, fresh, running = started(plane, worker, 4)
    for attempt in (lost, done, fresh, running):
        published = upload(plane, store, tmp_path / "files", attempt, "output")
        upload(plane, store, tmp_path / "files", attempt, "checkpoints/7-abc")
        if attempt == done:
            plane.report(worker, attempt, output=published)
        elif attempt != running:
            plane.report(worker, attempt, Reason.USER_ERROR)
    plane.sql(f"UPDATE attempts SET finished_at = {DAY} WHERE job_id IN (:a, :b)", a=lost.job_id, b=done.job_id)
    stranger = f"artifacts/{plane.workspace}/{encode('j', 2**40)}.1/output/file"
    store.put(stranger, b"of another database")
    store.put("artifacts/readme.txt", b"of a person")
    before = set(list_keys(store, ""))

    janitor.search(plane.database)
    janitor.clean(plane.database)

    gone = before - set(list_keys(store, ""))
    assert {key.rsplit("/", 1)[0] for key in gone} == {
        f"artifacts/{plane.workspace}/{lost}/output",
        f"artifacts/{plane.workspace}/{lost}/checkpoints/7-abc",
        f"artifacts/{plane.workspace}/{done}/checkpoints/7-abc",
    }
    assert plane.sql("SELECT FROM garbage") == []


def test_what_killed_attempts_left_unfinished_goes_after_a_day(
    plane: Plane, store: RetryingStore, tmp_path: Path
) -> None:
    prefix = f"artifacts/{plane.workspace}/{started(plane, plane.worker(), 1)[0]}/checkpoints/7-abc"
    for name in ("old", "new"):
        store.put_part(store.start_upload(f"{prefix}/{name}", part_size=4), 1, b"part")
        if name == "old":
            for path in (tmp_path / "store" / ".neutrino" / "uploads").rglob("*"):
                os.utime(path, (0, time.time() - 90_000))
    janitor.search(plane.database)
    assert store.find_upload(f"{prefix}/old", part_size=4) is None
    assert store.find_upload(f"{prefix}/new", part_size=4) is not None


def test_a_store_of_another_installation_is_left_alone(plane: Plane, store: RetryingStore, tmp_path: Path) -> None:
    store.put(MARK, b"somebody else")
    worker = plane.worker()
    (lost,) = started(plane, worker, 1)
    upload(plane, store, tmp_path / "files", lost, "output")
    plane.report(worker, lost, Reason.USER_ERROR)
    plane.sql(f"UPDATE attempts SET finished_at = {DAY}")
    before = set(list_keys(store, ""))
    janitor.search(plane.database)
    janitor.clean(plane.database)
    assert set(list_keys(store, "")) == before


def test_a_store_that_has_lost_our_mark_gets_it_back_from_a_person(plane: Plane, store: RetryingStore) -> None:
    def sweep() -> set[str]:
        plane.sql(f"UPDATE store_sweeps SET swept_at = {DAY}")
        janitor.search(plane.database)
        return set(list_keys(store, ""))

    assert sweep() == {MARK}
    store.delete(MARK)
    assert sweep() == set(), "perhaps it is not mounted"
    store.put(MARK, b"")
    assert sweep() == {MARK}
    assert store.head(MARK).size > 0


def test_what_cannot_be_deleted_now_is_tried_again_later(plane: Plane) -> None:
    plane.sql("INSERT INTO garbage (store, prefix) VALUES ('nowhere://bucket', 'artifacts/1/x')")
    janitor.clean(plane.database)
    janitor.clean(plane.database)
    (row,) = plane.sql("SELECT tries, error, not_before > clock_timestamp() AS held_back FROM garbage")
    assert (row.tries, row.held_back) == (1, True)
    assert "nowhere" in row.error


def test_a_fault_that_nobody_foresaw_holds_up_nothing_else(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    def discard(_store: object, prefix: str) -> None:
        if prefix == "artifacts/1/bad":
            raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(janitor, "discard", discard)
    plane.sql(
        "INSERT INTO garbage (store, prefix) VALUES ('file:///a', 'artifacts/1/bad'), ('file:///a', 'artifacts/1/x')"
    )
    janitor.clean(plane.database)
    (row,) = plane.sql("SELECT prefix, error FROM garbage")
    assert row.prefix == "artifacts/1/bad"
    assert "on fire" in row.error


def test_a_store_that_has_just_failed_is_left_alone_and_others_are_cleaned(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def discard(store: RetryingStore, prefix: str) -> None:
        asked.append((store.uri, prefix, store.retry.attempts))
        if store.uri == "file:///lost":
            raise TransientStoreError("It does not answer.")

    monkeypatch.setattr(janitor, "discard", discard)
    monkeypatch.setenv("NEUTRINO_FILE_ROOTS", "/")
    plane.sql(
        "INSERT INTO garbage (store, prefix) SELECT 'file:///' || one, 'artifacts/1/' || number "
        "FROM generate_series(1, 3) AS number, (VALUES ('lost'), ('good')) AS stores(one)"
    )
    janitor.clean(plane.database)
    assert [uri for uri, _, _ in asked].count("file:///lost") == 1
    assert max(attempts for _, _, attempts in asked) == 2, "there is another round"
    rows = plane.sql("SELECT store, error, not_before < clock_timestamp() + interval '1 minute' AS soon FROM garbage")
    assert [tuple(row) for row in rows] == [("file:///lost", "It does not answer.", True)] * 3


def make_models(plane: Plane, store: RetryingStore, folder: Path, count: int) -> int:
    """So many versions of a model, with a copy each; returns the worker that made them."""
    worker = plane.worker()
    for _ in range(count):
        attempt = plane.running(worker, command(outputs=Outputs(model="digits")))
        plane.report(worker, attempt, output=upload(plane, store, folder / "files", attempt, "output"))
    return worker


def begun(plane: Plane, kind: str) -> list[str]:
    """The models of the jobs of a kind, in the order in which they came to be."""
    rows = plane.sql("SELECT document #>> '{spec,model}' AS model FROM jobs WHERE kind = :kind ORDER BY id", kind=kind)
    return [row.model for row in rows]


def later(plane: Plane) -> None:
    """Let all pauses be over."""
    plane.sql("UPDATE replicas SET not_before = clock_timestamp() - interval '1 second' WHERE not_before IS NOT NULL")


def test_the_copy_of_a_model_that_was_not_looked_at_for_longest_is_checked(
    plane: Plane, store: RetryingStore, tmp_path: Path
) -> None:
    make_models(plane, store, tmp_path, 3)
    janitor.check_next(plane.database)
    assert plane.sql("SELECT FROM jobs WHERE kind = 'Verify'") == []
    plane.sql("UPDATE replicas SET checked_at = clock_timestamp() - (artifact_id % 1000) * interval '1 day'")
    for _ in range(3):
        janitor.check_next(plane.database)
    checks = plane.sql(
        "SELECT user_name, document #>> '{spec,model}' AS model FROM jobs WHERE kind = 'Verify' ORDER BY id"
    )
    assert [(row.user_name, row.model) for row in checks] == [("neutrino", "digits@3"), ("neutrino", "digits@2")]


def test_a_store_that_refuses_or_whose_workers_are_gone_holds_up_no_other_check(
    plane: Plane, store: RetryingStore, tmp_path: Path
) -> None:
    worker = make_models(plane, store, tmp_path, 5)
    age = "(SELECT 100 + max(id) - artifact_id FROM artifacts) * interval '1 day'"
    plane.sql(f"UPDATE replicas SET checked_at = clock_timestamp() - {age}")
    away = "UPDATE replicas SET store = 'gs://away' WHERE artifact_id IN (SELECT min(id) + :n FROM artifacts)"
    for number in range(3):
        plane.sql(away, n=number)
    for _ in range(4):
        janitor.check_next(plane.database)
    assert begun(plane, "Verify") == ["digits@1", "digits@2", "digits@4", "digits@5"], "two in each store"

    plane.dispatch()
    for lease in plane.claim(worker, 4):
        plane.report(worker, decode_attempt(lease.attempt), Reason.STORE_REFUSED)
    (row,) = plane.sql("SELECT count(*) AS n, min(tries) AS tries FROM replicas WHERE not_before > clock_timestamp()")
    assert (row.n, row.tries) == (2, 1)
    janitor.check_next(plane.database)
    assert len(begun(plane, "Verify")) == 4, "what was refused has a pause"
    later(plane)
    janitor.check_next(plane.database)
    assert begun(plane, "Verify")[4:] == ["digits@4"]


def test_a_copy_that_could_not_be_mended_is_mended_later(plane: Plane, store: RetryingStore, tmp_path: Path) -> None:
    worker = make_models(plane, store, tmp_path, 1)
    plane.sql(
        "INSERT INTO replicas (artifact_id, store, prefix, state) SELECT id, :store, 'copy', 'lost' FROM artifacts",
        store=(tmp_path / "other").as_uri(),
    )
    for tries in (1, 2):
        janitor.check_next(plane.database)
        janitor.check_next(plane.database)
        assert begun(plane, "Transfer") == ["digits@1"] * tries
        plane.dispatch()
        (lease,) = plane.claim(worker)
        assert lease.order is not None
        assert lease.order.mend
        plane.report(worker, decode_attempt(lease.attempt), Reason.STORE_REFUSED)
        janitor.check_next(plane.database)
        later(plane)
    janitor.check_next(plane.database)
    plane.dispatch()
    (lease,) = plane.claim(worker)
    assert lease.order is not None
    landed = ArtifactUpload(digest=lease.order.digest, size=7, files=1, **lease.order.target.model_dump())
    plane.report(worker, decode_attempt(lease.attempt), output=landed)
    assert [tuple(row) for row in plane.sql("SELECT state, tries, not_before FROM replicas")] == [
        ("verified", 0, None)
    ] * 2
