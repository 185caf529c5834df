"""Every ordered pair of providers: one object of several parts, many small ones, an empty one; equal hashes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from cloud_adapters import artifacts
from cloud_adapters.base import MIB
from cloud_adapters.transfer import Options, estimate, transfer
from tests.contract.conftest import NewStore

PROVIDERS = ("local", "aws", "gcp", "azure")
# The full size of the acceptance run is 1 GiB and 1,000 files: set these to have it here.
LARGE = int(os.environ.get("NEUTRINO_TRANSFER_LARGE") or 12 * MIB + 345)
SMALL = int(os.environ.get("NEUTRINO_TRANSFER_SMALL") or 40)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact's files."""
    root = tmp_path_factory.mktemp("artifact")
    (root / "sub dir").mkdir()
    block = os.urandom(MIB)
    with (root / "weights.safetensors").open("wb") as file:
        for number in range(-(-LARGE // MIB)):
            file.write((number.to_bytes(8) + block[8:])[: LARGE - number * MIB])
    for number in range(SMALL):
        (root / "sub dir" / f"é {number:04d}").write_bytes(os.urandom(64 * 1024))
    (root / "empty").touch()
    return root


@pytest.mark.parametrize(("origin", "target"), list(itertools.product(PROVIDERS, PROVIDERS)))
def test_a_pair(origin: str, target: str, new_store: NewStore, folder: Path, tmp_path: Path) -> None:
    source, destination = new_store(origin), new_store(target)
    manifest = artifacts.publish(source, "model/1", folder)
    expected = estimate(source, "model/1", destination, "replica/1")
    assert expected.bytes_to_move == manifest.size

    report = transfer(source, "model/1", destination, "replica/1", digest=manifest.digest, options=Options(streams=4))

    assert artifacts.read_manifest(destination, "replica/1") == manifest
    artifacts.fetch(destination, "replica/1", manifest, tmp_path / "back")
    moved = report.counts.sent if origin != target else report.counts.copied_inside
    assert (moved, report.counts.done) == (manifest.size, manifest.size)
    again = transfer(source, "model/1", destination, "replica/1")
    assert (again.counts.sent, again.counts.already_there) == (0, manifest.size)


def test_a_second_version_moves_only_what_changed(new_store: NewStore, folder: Path, tmp_path: Path) -> None:
    source, destination = new_store("aws"), new_store("azure")
    artifacts.publish(source, "model/1", folder)
    transfer(source, "model/1", destination, "replica/1")
    second = tmp_path / "second"
    second.mkdir()
    (second / "weights.safetensors").hardlink_to(folder / "weights.safetensors")
    (second / "new").write_bytes(b"n" * 1000)
    artifacts.publish(source, "model/2", second)
    report = transfer(source, "model/2", destination, "replica/2", reuse=["replica/1", "never/was"])
    assert (report.counts.sent, report.counts.copied_inside) == (1000, LARGE)
    assert estimate(source, "model/2", destination, "replica/3", reuse=["replica/1"]).bytes_to_move == 1000
