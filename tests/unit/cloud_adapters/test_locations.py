"""What lies at an address: of foreign files, unfinished ones, and what processes left that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_adapters import artifacts
from cloud_adapters.errors import InvalidStore, ObjectNotFound
from cloud_adapters.locations import find
from cloud_adapters.providers.local import LocalStore
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import copy
from orchestrator.domain.errors import CorruptArtifact

HALF_DONE = """
import pathlib, sys
from cloud_adapters.providers.local import LocalStore
with LocalStore(pathlib.Path(sys.argv[1]))._staged() as staged:
    staged.write_bytes(b"half")
    print(staged, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("manifest", [b'{"name": "of a web application"}', b"", b"{", b'{"files":[]} '])
def test_a_folder_with_a_manifest_of_another_kind_is_a_plain_one(tmp_path: Path, manifest: bytes) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "icon").write_bytes(b"icon")
    found = find(folder.as_uri())
    assert found.manifest is None
    assert [info.key for info in found.objects()] == ["icon", "manifest.json"]
    elsewhere = open_store((tmp_path / "copy").as_uri())
    copy(found.store, [(info, info.key) for info in found.objects()], elsewhere)
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == manifest
    with pytest.raises(CorruptArtifact):
        artifacts.read_manifest(elsewhere, "")
    assert found.remove() == 2
    with pytest.raises(ObjectNotFound):
        find(folder.as_uri())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_files_are_objects(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe would hold up a reader until somebody writes to it."""
    (tmp_path / "file").write_bytes(b"x")
    make(tmp_path / "manifest.json")
    store = LocalStore(tmp_path)
    for look in (store.open, store.head):
        with pytest.raises(ObjectNotFound):
            look("manifest.json")
    assert [info.key for info in find(tmp_path.as_uri()).objects()] == ["file"]


def test_unfinished_things_are_hidden_however_deep_and_go_with_their_folder(tmp_path: Path) -> None:
    inner = LocalStore(tmp_path / "a" / "b")
    inner.put_part(inner.start_upload("large", part_size=4), 1, b"part")
    above = LocalStore(tmp_path)
    assert above.list_page("").objects == above.list_page("a/b/.neutrino/").objects == ()
    with pytest.raises(InvalidStore):
        above.put("a/b/.neutrino/uploads/x", b"mine")
    inner.put("small", b"x")
    assert find(inner.uri).remove() == 1
    assert not list((tmp_path / "a" / "b").rglob("*"))


def test_what_a_killed_writer_was_writing_goes_when_the_next_one_begins(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HALF_DONE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        staged = Path(writer.stdout.readline().strip())
        LocalStore(tmp_path).put("while it lives", b"x")
        assert staged.read_bytes() == b"half"
        writer.send_signal(signal.SIGKILL)
    LocalStore(tmp_path).put("when it is dead", b"x")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["when it is dead", "while it lives"]
