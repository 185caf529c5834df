"""Artifacts in a folder: visible only when whole, and never with a wrong byte."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_adapters import artifacts
from cloud_adapters.base import ObjectStore
from cloud_adapters.errors import InvalidStore, ObjectNotFound, PreconditionFailed
from cloud_adapters.fetching import fetch
from cloud_adapters.registry import open_store
from cloud_adapters.transfer.flow import Options, TransferCancelled
from orchestrator.domain.artifact import Manifest
from orchestrator.domain.errors import CorruptArtifact, InvalidSpec

FILES = {"model.safetensors": b"weights" * 1000, "deep/er/labels with space é.txt": b"a\nb", "empty": b""}


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "store").as_uri(), file_roots=[tmp_path])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "model"


def test_what_was_published_comes_back(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    manifest = artifacts.publish(store, "a/1", folder)
    assert artifacts.read_manifest(store, "a/1") == manifest
    fetch(store, "a/1", manifest.digest, tmp_path / "back")
    back = tmp_path / "back"
    assert {p.relative_to(back).as_posix(): p.read_bytes() for p in back.rglob("*") if p.is_file()} == FILES
    for file in manifest.files:
        with artifacts.open_verified(store, "a/1", file) as stream:
            assert stream.read() == FILES[file.path]


def test_a_flipped_bit_is_found_and_nothing_appears(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    manifest = artifacts.publish(store, "a/1", folder)
    target = tmp_path / "store/a/1/model.safetensors"
    original = target.read_bytes()
    for position in range(0, len(original), 700):
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position % 8)
        target.write_bytes(damaged)
        with pytest.raises(CorruptArtifact):
            fetch(store, "a/1", manifest, tmp_path / "back")
        assert not (tmp_path / "back").exists()


def test_a_manifest_that_lies_is_refused(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    manifest = artifacts.publish(store, "a/1", folder)
    lie = Manifest.of([file.model_copy(update={"size": file.size + 1}) for file in manifest.files])
    with pytest.raises(CorruptArtifact):
        fetch(store, "a/1", lie, tmp_path / "back")
    with pytest.raises(CorruptArtifact, match="digest"):
        fetch(store, "a/1", "0" * 64, tmp_path / "back")
    (tmp_path / "store/a/1/manifest.json").write_bytes(b'{"files":[{"path":"../x"}]}')
    with pytest.raises(CorruptArtifact, match="not a manifest"):
        artifacts.read_manifest(store, "a/1")


def test_publishing_again_is_harmless_and_other_content_is_refused(store: ObjectStore, folder: Path) -> None:
    first = artifacts.publish(store, "a/1", folder)
    assert artifacts.publish(store, "a/1", folder) == first
    (folder / "more").write_bytes(b"x")
    with pytest.raises(PreconditionFailed):
        artifacts.publish(store, "a/1", folder)
    assert artifacts.read_manifest(store, "a/1") == first


def test_discarded_is_gone(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    artifacts.publish(store, "a/1", folder)
    artifacts.publish(store, "a/10", folder)
    artifacts.discard(store, "a/1")
    with pytest.raises(ObjectNotFound):
        artifacts.read_manifest(store, "a/1")
    assert len(list(artifacts.list_keys(store, "a/"))) == len(FILES) + 1


@pytest.mark.parametrize("name", ["manifest.json", "a\\b"])
def test_names_that_no_manifest_holds_are_refused_before_anything_is_sent(
    store: ObjectStore, folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / name).write_bytes(b"{}")
    with pytest.raises(InvalidSpec):
        artifacts.publish(store, "a/1", folder)
    with pytest.raises(InvalidSpec):
        artifacts.describe(folder)
    assert not (tmp_path / "store").exists()


def test_a_manifest_that_could_not_be_read_again_is_refused_before_anything_is_sent(
    store: ObjectStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(artifacts.describe(folder).to_bytes())
    monkeypatch.setattr(artifacts, "MAX_MANIFEST", size - 1)
    with pytest.raises(InvalidSpec, match=f"would have {size} bytes"):
        artifacts.publish(store, "a/1", folder)
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(artifacts, "MAX_MANIFEST", size)
    assert artifacts.publish(store, "a/1", folder) == artifacts.read_manifest(store, "a/1")


def test_links_are_refused(store: ObjectStore, folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidSpec, match="regular file"):
        artifacts.publish(store, "a/2", folder)


def test_a_link_inside_a_store_leads_nowhere(store: ObjectStore, tmp_path: Path) -> None:
    store.put("ok", b"1")
    (tmp_path / "store/out").symlink_to("/etc")
    with pytest.raises(InvalidStore):
        store.open("out/passwd")
    (tmp_path / "store/file").symlink_to("/etc/passwd")
    with pytest.raises(InvalidStore):
        store.open("file")


def test_the_registry_loads_no_cloud_sdk() -> None:
    code = (
        "import sys, cloud_adapters.registry, cloud_adapters.artifacts\n"
        "print([m for m in ('boto3', 'botocore', 'google.cloud', 'azure', 'obstore', 'requests') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_cancelled_fetch_ends_in_mid_file_and_leaves_nothing(
    store: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    (folder / "large").write_bytes(b"x" * 100_000)
    manifest = artifacts.publish(store, "a/1", folder)
    home, cancel = tmp_path / "home", threading.Event()
    home.mkdir()
    for_days = Options(part_size=10_000, bandwidth=0.1)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetch, store, "a/1", manifest, home / "back", options=for_days, cancel=cancel)
        deadline = time.monotonic() + 60
        try:
            while not list(home.glob("*/files/large")) and not fetching.done():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            cancel.set()
        assert isinstance(fetching.exception(60), TransferCancelled)
    assert list(home.iterdir()) == []
