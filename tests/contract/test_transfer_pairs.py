"""Every ordered pair of providers: one object of several parts, many small ones, an empty one; equal hashes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloud_adapters import artifacts
from cloud_adapters.base import MIB
from cloud_adapters.fetching import fetch
from cloud_adapters.registry import open_store
from cloud_adapters.retrying import RetryingStore
from cloud_adapters.transfer import Options, Progress, copy, estimate, transfer
from orchestrator.domain.artifact import MANIFEST_NAME
from orchestrator.domain.errors import CorruptArtifact
from tests.contract.conftest import NewStore, Servers
from tests.contract.servers import make_bucket

PROVIDERS = ("local", "aws", "gcp", "azure")
PAIRS = list(itertools.product(PROVIDERS, PROVIDERS))
LARGE, SMALL = 12 * MIB + 345, 16
SMALL_SIZE = 64 * 1024


def fill(root: Path, large: int, small: int) -> Path:
    """Writes the files of an artifact: a large one whose parts differ, small ones with odd names, an empty one."""
    (root / "sub dir").mkdir(parents=True)
    block = os.urandom(MIB)
    with (root / "weights.safetensors").open("wb") as file:
        for number in range(-(-large // MIB)):
            file.write((number.to_bytes(8) + block[8:])[: large - number * MIB])
    for number in range(small):
        (root / "sub dir" / f"é {number:04d}").write_bytes(os.urandom(SMALL_SIZE))
    (root / "empty").touch()
    return root


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact's files."""
    return fill(tmp_path_factory.mktemp("artifact") / "files", LARGE, SMALL)


@pytest.mark.parametrize(("origin", "target"), PAIRS)
def test_a_pair(origin: str, target: str, new_store: NewStore, folder: Path, tmp_path: Path) -> None:
    source, destination = new_store(origin), new_store(target)
    manifest = artifacts.publish(source, "model/1", folder)
    expected = estimate(source, "model/1", destination, "replica/1")
    assert expected.bytes_to_move == manifest.size

    report = transfer(source, "model/1", destination, "replica/1", digest=manifest.digest, options=Options(streams=4))

    assert artifacts.read_manifest(destination, "replica/1") == manifest
    fetch(destination, "replica/1", manifest, tmp_path / "back")
    moved = report.counts.sent if origin != target else report.counts.copied_inside
    assert (moved, report.counts.done) == (manifest.size, manifest.size)
    again = transfer(source, "model/1", destination, "replica/1")
    assert (again.counts.sent, again.counts.already_there) == (0, manifest.size)


@pytest.mark.parametrize("origin", PROVIDERS)
@pytest.mark.parametrize("size", [1000, 6 * MIB])
def test_plain_files_that_change_after_they_were_listed(origin: str, size: int, new_store: NewStore) -> None:
    """Content of the same size, so that nothing but the version tells it; copied inside the provider, and away."""
    source, options = new_store(origin), Options(part_size=5 * MIB, streams=2)
    source.put("kept", b"k" * size)
    source.put("changed", b"1" * size)
    listed = {info.key: [(info, info.key)] for info in source.list("")}
    source.put("changed", b"2" * size)
    for target in ("local", "aws"):
        destination = new_store(target)
        assert copy(source, listed["kept"], destination, options=options).counts.moved == size
        with pytest.raises(CorruptArtifact):
            copy(source, listed["changed"], destination, options=options)
        assert [info.key for info in destination.list("")] == ["kept"]


def test_progress_and_estimate_count_what_is_read_back(new_store: NewStore, folder: Path) -> None:
    """Half of the work is done when everything has landed in a store that nobody can trust."""
    source, destination = new_store("local"), new_store("local")
    manifest = artifacts.publish(source, "model/1", folder)
    seen: list[Progress] = []
    expected = estimate(source, "model/1", destination, "replica/1")
    # A limit keeps the engine from copying inside the provider, which reads back as it goes.
    transfer(source, "model/1", destination, "replica/1", options=Options(bandwidth=1e9), on_progress=seen.append)
    assert (expected.bytes_to_move, expected.bytes_to_read_back) == (manifest.size, manifest.size)
    landed = next(one for one in seen if one.done >= LARGE)
    assert landed.fraction < 0.7
    assert [one.fraction for one in seen] == sorted(one.fraction for one in seen)
    assert (seen[-1].fraction, seen[-1].seconds_left, seen[-1].proven) == (1.0, 0.0, manifest.size)


def test_what_is_read_back_keeps_to_the_limit_too(new_store: NewStore) -> None:
    """All but the last piece of what moves, to the store and back, take their time."""
    source, destination = new_store("local"), new_store("local")
    for number in range(10):
        source.put(f"{number}", bytes(1000))
    files = [(info, info.key) for info in source.list("")]
    report = copy(source, files, destination, options=Options(bandwidth=1e5))
    assert report.counts.read_back == 10_000
    assert report.seconds >= 19_000 / 1e5


def test_bytes_that_cross_regions_inside_a_provider_cost_what_was_estimated(new_store: NewStore, folder: Path) -> None:
    source, near = new_store("aws"), new_store("aws")
    far = open_store(f"{near.uri}&region=ap-south-1")
    manifest = artifacts.publish(source, "model/1", folder)
    expected = estimate(source, "model/1", far, "replica/1").cost
    report = transfer(source, "model/1", far, "replica/1")
    assert (report.counts.read, report.counts.crossed) == (0, manifest.size)
    assert report.cost == expected
    assert report.cost.usd > 0


@pytest.fixture(scope="session")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """1 GiB in one file, and 1,000 files of 64 KiB."""
    root = tmp_path_factory.mktemp("full")
    yield fill(root / "files", 1024 * MIB, 1000)
    shutil.rmtree(root)


@pytest.fixture
def fresh_store(tmp_path: Path, _credentials: None) -> Iterator[Callable[[str], RetryingStore]]:
    """Makes a store on a server of the test's own, so that its gigabytes are gone afterwards."""
    with ExitStack() as stack:
        running = Servers(stack, tmp_path)

        def make(kind: str) -> RetryingStore:
            if kind == "local":
                return open_store((tmp_path / "store").as_uri(), file_roots=[tmp_path])
            return open_store(make_bucket(kind, running.origin(kind), "full-size"))

        yield make
    for name in ("store", "back"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("origin", "target"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_a_pair_at_full_size(
    origin: str, target: str, fresh_store: NewStore, full_folder: Path, tmp_path: Path
) -> None:
    """1 GiB, and 1,000 files of 64 KiB; what the transfer took is printed (`-s`)."""
    source, destination = fresh_store(origin), fresh_store(target)
    manifest = artifacts.publish(source, "model/1", full_folder)
    # Few and large parts, because the GCS emulator goes through the whole object for every range of it.
    options = Options(streams=3, part_size=32 * MIB)
    report = transfer(source, "model/1", destination, "replica/1", digest=manifest.digest, options=options)
    assert (report.counts.sent, report.counts.files_done) == (manifest.size, 1002)
    fetch(destination, "replica/1", manifest, tmp_path / "back")
    figures = {"pair": f"{origin} to {target}", "seconds": round(report.seconds, 1), "proof": report.proof}
    print(json.dumps(figures))  # noqa: T201 - these figures are what the run is for


def test_a_second_version_moves_only_what_changed(new_store: NewStore, folder: Path, tmp_path: Path) -> None:
    source, destination = new_store("aws"), new_store("azure")
    artifacts.publish(source, "model/1", folder)
    transfer(source, "model/1", destination, "replica/1")
    second = tmp_path / "second"
    second.mkdir()
    (second / "weights.safetensors").hardlink_to(folder / "weights.safetensors")
    (second / "new").write_bytes(b"n" * 1000)
    artifacts.publish(source, "model/2", second)
    for number, damaged in enumerate((b"{", b"[[]]", b'{"files":[{"sha256":[]}]}', b"\xff", b"")):
        destination.put(f"damaged/{number}/{MANIFEST_NAME}", damaged)
    kin = ["replica/1", "never/was", *(f"damaged/{number}" for number in range(5))]
    report = transfer(source, "model/2", destination, "replica/2", reuse=kin)
    assert (report.counts.sent, report.counts.copied_inside) == (1000, LARGE)
    assert estimate(source, "model/2", destination, "replica/3", reuse=kin).bytes_to_move == 1000
