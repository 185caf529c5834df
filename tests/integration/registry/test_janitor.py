"""What nothing refers to is deleted, and nothing else is; copies are checked in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_adapters.artifacts import list_keys, publish
from cloud_adapters.registry import open_store
from cloud_adapters.retrying import RetryingStore
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
def store(plane: Plane, tmp_path: Path) -> RetryingStore:
    """The store of the pool."""
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


def test_a_store_of_another_installation_is_left_alone(plane: Plane, store: RetryingStore, tmp_path: Path) -> None:
    store.put("artifacts/.neutrino", b"somebody else")
    worker = plane.worker()
    (lost,) = started(plane, worker, 1)
    upload(plane, store, tmp_path / "files", lost, "output")
    plane.report(worker, lost, Reason.USER_ERROR)
    plane.sql(f"UPDATE attempts SET finished_at = {DAY}")
    before = set(list_keys(store, ""))
    janitor.search(plane.database)
    janitor.clean(plane.database)
    assert set(list_keys(store, "")) == before


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


def test_the_copy_of_a_model_that_was_not_looked_at_for_longest_is_checked(
    plane: Plane, store: RetryingStore, tmp_path: Path
) -> None:
    worker = plane.worker()
    for _ in range(3):
        plane.submit(command(outputs=Outputs(model="digits")))
        plane.dispatch()
        (lease,) = plane.claim(worker)
        attempt = decode_attempt(lease.attempt)
        plane.report(worker, attempt, output=upload(plane, store, tmp_path / "files", attempt, "output"))
    janitor.check_next(plane.database)
    assert plane.sql("SELECT FROM jobs WHERE kind = 'Verify'") == []
    plane.sql("UPDATE replicas SET checked_at = clock_timestamp() - (artifact_id % 1000) * interval '1 day'")
    for _ in range(3):
        janitor.check_next(plane.database)
    checks = plane.sql(
        "SELECT user_name, document #>> '{spec,model}' AS model FROM jobs WHERE kind = 'Verify' ORDER BY id"
    )
    assert [(row.user_name, row.model) for row in checks] == [("neutrino", "digits@3"), ("neutrino", "digits@2")]
