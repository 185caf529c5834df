"""What a check of a copy finds, and what a copy tells of its sources."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from cloud_adapters.artifacts import publish
from cloud_adapters.base import Reader
from cloud_adapters.errors import TransientStoreError
from cloud_adapters.providers.local import LocalStore
from cloud_adapters.registry import open_store
from orchestrator.domain.artifact import MARK
from orchestrator.domain.errors import CorruptArtifact
from orchestrator.domain.transfer import Order, Place
from workers.workloads.transfer import copy, verify

PREFIX = "artifacts/1/j-1.1/output"


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """A copy to check, in a store that bears our mark."""
    monkeypatch.setenv("NEUTRINO_FILE_ROOTS", str(tmp_path))
    (tmp_path / "files").mkdir()
    for name in "abc":
        (tmp_path / "files" / name).write_bytes(name.encode() * 1000)
    target = Place(store=(tmp_path / "store").as_uri(), prefix=PREFIX)
    store = open_store(target.store)
    store.put(MARK, b"ours")
    made = publish(store, PREFIX, tmp_path / "files")
    return Order(action="verify", digest=made.digest, size=3000, files=3, target=target, marked=True)


def check(order: Order) -> None:
    verify(order, lambda _: None, threading.Event())


class BrokenDisk:
    """An opened file whose bytes the disk does not give."""

    def __init__(self, file: Reader) -> None:
        self.size = file.size
        self._file = file

    def readinto(self, _: memoryview, /) -> int:
        raise TransientStoreError("Input/output error") from OSError(errno.EIO, "Input/output error")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.mark.parametrize("marked", [True, False])
def test_a_store_that_is_not_there_says_nothing_about_its_copies(order: Order, tmp_path: Path, *, marked: bool) -> None:
    order = order.model_copy(update={"marked": marked})
    check(order)
    (tmp_path / "store").rename(tmp_path / "unmounted")
    for there in (False, True):
        if there:
            (tmp_path / "store").mkdir()
        with pytest.raises(TransientStoreError, match="is not there, or was emptied"):
            check(order)
        with pytest.raises(TransientStoreError, match="is not there, or was emptied"):
            copy(order.model_copy(update={"mend": True}), lambda _: None, threading.Event())
    open_store(order.target.store).put(MARK, b"")
    with pytest.raises(CorruptArtifact, match="is missing"):
        check(order)


def test_a_file_that_cannot_be_read_is_damaged(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store" / PREFIX / "b"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptArtifact, match=r"1 of 3 files .* b\."):
        check(order)

    opened = LocalStore.open

    def on_a_broken_disk(self: LocalStore, key: str, **about: Any) -> Reader:
        reader = opened(self, key, **about)
        return BrokenDisk(reader) if key.endswith("/a") else reader

    monkeypatch.setattr(LocalStore, "open", on_a_broken_disk)
    with pytest.raises(CorruptArtifact, match=r"2 of 3 files .* a, b\."):
        check(order)


def test_a_source_that_is_damaged_is_told_though_another_one_has_the_bytes(order: Order, tmp_path: Path) -> None:
    good = Place(store=(tmp_path / "good").as_uri(), prefix=PREFIX)
    publish(open_store(good.store), PREFIX, tmp_path / "files")
    bad = order.target
    (tmp_path / "store" / PREFIX / "c").write_bytes(b"x" * 1000)
    told: list[dict[str, Any]] = []
    wanted = {
        "action": "copy",
        "sources": (bad, good),
        "target": Place(store=(tmp_path / "to").as_uri(), prefix="copy"),
    }
    copy(order.model_copy(update=wanted), told.append, threading.Event())
    assert [one["damaged"] for one in told if "damaged" in one] == [bad.store]
    assert (tmp_path / "to" / "copy" / "c").read_bytes() == b"c" * 1000
