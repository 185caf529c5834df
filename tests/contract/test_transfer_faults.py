"""What breaks on the way ends in success or in a clear error, and never in something half visible."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from cloud_adapters import artifacts, wire
from cloud_adapters.base import MIB
from cloud_adapters.errors import CredentialsExpired, ObjectNotFound, StoreFull, Throttled
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from cloud_adapters.transfer import Options, TransferCancelled, transfer
from orchestrator.domain.artifact import MANIFEST_NAME
from orchestrator.domain.errors import CorruptArtifact
from tests.contract.conftest import Servers
from tests.contract.faulty import Exchange, Faults, Verdict, faulty
from tests.contract.servers import make_bucket

pytestmark = pytest.mark.fault
PART = 5 * MIB
OPTIONS = Options(streams=3, small_streams=4, part_size=PART)
Pair = tuple[RetryingStore, RetryingStore, Faults]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "artifact"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(2 * PART + 1000))
    for number in range(10):
        (root / f"small-{number}").write_bytes(os.urandom(30_000))
    return root


@pytest.fixture(params=["aws", "gcp", "azure"])
def broken_destination(request: pytest.FixtureRequest, running: Servers, tmp_path: Path) -> Iterator[Pair]:
    """A folder to copy from, and a store behind a faulty proxy to copy to."""
    with faulty(running.origin(request.param)) as (origin, faults):
        destination = open_store(make_bucket(request.param, origin, f"b{os.urandom(8).hex()}"))
        destination.retry = Retry(attempts=12, base_s=0.001, cap_s=0.01)
        yield open_store((tmp_path / "source").as_uri(), file_roots=[tmp_path]), destination, faults


@pytest.fixture(params=["aws", "gcp", "azure"])
def broken_source(request: pytest.FixtureRequest, running: Servers, tmp_path: Path) -> Iterator[Pair]:
    """A store behind a faulty proxy to copy from, and a folder to copy to."""
    with faulty(running.origin(request.param)) as (origin, faults):
        source = open_store(make_bucket(request.param, origin, f"b{os.urandom(8).hex()}"))
        source.retry = Retry(attempts=12, base_s=0.001, cap_s=0.01)
        yield source, open_store((tmp_path / "destination").as_uri(), file_roots=[tmp_path]), faults


def nothing_visible(store: RetryingStore, faults: Faults) -> bool:
    """Whether readers see no artifact, once the faults are over."""
    faults.before = faults.after = lambda _: None
    try:
        artifacts.read_manifest(store, "to")
    except ObjectNotFound:
        return True
    return False


def data_exchanges(
    chosen: Callable[[int], bool], verdict: Verdict, size: int = 10_000
) -> Callable[[Exchange], Verdict | None]:
    """The verdict for those exchanges that move data and whose turn is `chosen`."""
    seen = iter(range(10**9))

    def judge(exchange: Exchange) -> Verdict | None:
        large = max(len(exchange.body), len(exchange.answer)) > size
        return verdict if large and chosen(next(seen)) else None

    return judge


def test_a_third_of_all_requests_refused(broken_destination: Pair, folder: Path, tmp_path: Path) -> None:
    source, destination, faults = broken_destination
    manifest = artifacts.publish(source, "from", folder)
    dice = random.Random(3)
    verdicts = [Verdict(503, "SlowDown"), Verdict(429), Verdict(500, "InternalError")]
    faults.before = lambda _: dice.choice(verdicts) if dice.random() < 0.3 else None
    transfer(source, "from", destination, "to", options=OPTIONS)
    faults.before = lambda _: None
    artifacts.fetch(destination, "to", manifest, tmp_path / "back")


def test_bodies_cut_short(broken_source: Pair, folder: Path, tmp_path: Path) -> None:
    source, destination, faults = broken_source
    manifest = artifacts.publish(source, "from", folder)
    faults.after = data_exchanges(lambda turn: turn % 3 == 0, Verdict(cut=True))
    transfer(source, "from", destination, "to", options=OPTIONS)
    artifacts.fetch(destination, "to", manifest, tmp_path / "back")


def test_a_connection_that_stalls(broken_source: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination, faults = broken_source
    monkeypatch.setattr(wire, "STALL_S", 0.5)
    manifest = artifacts.publish(source, "from", folder)
    faults.after = data_exchanges(lambda turn: turn in {0, 2}, Verdict(stall=True))
    transfer(source, "from", destination, "to", options=OPTIONS)
    assert artifacts.read_manifest(destination, "to") == manifest


def test_a_full_destination(broken_destination: Pair, folder: Path) -> None:
    source, destination, faults = broken_destination
    artifacts.publish(source, "from", folder)
    faults.before = data_exchanges(lambda turn: turn > 3, Verdict(507, "QuotaExceeded"))
    with pytest.raises(StoreFull):
        transfer(source, "from", destination, "to", options=OPTIONS)
    assert nothing_visible(destination, faults)


def test_credentials_that_expire(broken_destination: Pair, folder: Path) -> None:
    source, destination, faults = broken_destination
    artifacts.publish(source, "from", folder)
    faults.before = data_exchanges(lambda turn: turn > 2, Verdict(403, "ExpiredToken"))
    with pytest.raises(CredentialsExpired):
        transfer(source, "from", destination, "to", options=OPTIONS)
    assert nothing_visible(destination, faults)
    transfer(source, "from", destination, "to", options=OPTIONS)


def test_a_source_that_is_gone_for_good(broken_source: Pair, folder: Path) -> None:
    source, destination, faults = broken_source
    artifacts.publish(source, "from", folder)
    faults.before = data_exchanges(lambda _: True, Verdict(503), size=-1)
    with pytest.raises(Throttled):
        transfer(source, "from", destination, "to", options=OPTIONS)
    assert nothing_visible(destination, faults)


def flip(data: bytearray, dice: random.Random) -> None:
    """Flips one bit."""
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def test_bits_flipped_on_the_way_in_are_detected(broken_source: Pair, folder: Path, tmp_path: Path) -> None:
    """In each run one answer has a flipped bit: either the bytes are fetched again, or the transfer fails."""
    source, destination, faults = broken_source
    (folder / "large").write_bytes(os.urandom(PART + 1000))
    manifest = artifacts.publish(source, "from", folder)
    dice = random.Random(7)
    for run in range(12):
        victim = dice.randrange(12)
        hit = iter(range(10**9))

        def damage(exchange: Exchange, victim: int = victim, hit: Iterator[int] = hit) -> None:
            if len(exchange.answer) > 10_000 and next(hit) == victim:
                flip(exchange.answer, dice)

        faults.after = damage
        try:
            transfer(source, "from", destination, f"to/{run}", options=OPTIONS)
        except CorruptArtifact:
            with pytest.raises(ObjectNotFound):
                artifacts.read_manifest(destination, f"to/{run}")
        else:
            artifacts.fetch(destination, f"to/{run}", manifest, tmp_path / f"back-{run}")


@pytest.mark.parametrize("trust", [None, False], ids=["as the store proves", "reading back"])
def test_bits_flipped_on_the_way_out_are_detected(
    broken_destination: Pair, folder: Path, tmp_path: Path, trust: bool | None
) -> None:
    source, destination, faults = broken_destination
    (folder / "large").write_bytes(os.urandom(PART + 1000))
    manifest = artifacts.publish(source, "from", folder)
    dice = random.Random(11)
    for run in range(6):
        victim = dice.randrange(12)
        hit = iter(range(10**9))

        def damage(exchange: Exchange, victim: int = victim, hit: Iterator[int] = hit) -> None:
            if len(exchange.body) > 10_000 and next(hit) == victim:
                middle = memoryview(exchange.body)[2000:-2000]  # the object's bytes, not the envelope around them
                middle[dice.randrange(len(middle))] ^= 1

        faults.before = damage
        options = Options(streams=3, small_streams=4, part_size=PART, trust_store=trust)
        try:
            transfer(source, "from", destination, f"to/{run}", options=options)
        except CorruptArtifact:
            with pytest.raises(ObjectNotFound):
                artifacts.read_manifest(destination, f"to/{run}")
        else:
            faults.before = lambda _: None
            artifacts.fetch(destination, f"to/{run}", manifest, tmp_path / f"back-{run}")


def test_200_bits_flipped_at_rest_are_detected(tmp_path: Path) -> None:
    """At the source before the transfer, and at the destination before a fetch: 200 of 200."""
    source = open_store((tmp_path / "source").as_uri(), file_roots=[tmp_path])
    destination = open_store((tmp_path / "destination").as_uri(), file_roots=[tmp_path])
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "weights").write_bytes(os.urandom(64 * 1024))
    manifest = artifacts.publish(source, "from", folder)
    transfer(source, "from", destination, "good")
    dice = random.Random(13)
    detected = 0
    for position in range(200):
        at_source = position % 2 == 0
        victim = tmp_path / ("source/from/weights" if at_source else "destination/good/weights")
        good = victim.read_bytes()
        bad = bytearray(good)
        flip(bad, dice)
        victim.write_bytes(bad)
        use: Callable[[], object] = partial(artifacts.fetch, destination, "good", manifest, tmp_path / "back")
        if at_source:
            use = partial(transfer, source, "from", destination, f"to/{position}")
        with pytest.raises(CorruptArtifact):
            use()
        assert not (tmp_path / f"destination/to/{position}/{MANIFEST_NAME}").exists()
        assert not (tmp_path / "back").exists()
        victim.write_bytes(good)
        detected += 1
    assert detected == 200


def test_a_source_that_changes_in_mid_transfer(broken_destination: Pair, folder: Path, tmp_path: Path) -> None:
    source, destination, faults = broken_destination
    artifacts.publish(source, "from", folder)

    def overwrite(exchange: Exchange) -> None:
        if len(exchange.body) > MIB:
            (tmp_path / "source/from/large").write_bytes(os.urandom(2 * PART + 1000))

    faults.before = overwrite
    with pytest.raises(CorruptArtifact):
        transfer(source, "from", destination, "to", options=Options(streams=1, part_size=PART))
    assert nothing_visible(destination, faults)


def test_cancelled_and_started_again(broken_destination: Pair, folder: Path) -> None:
    source, destination, faults = broken_destination
    manifest = artifacts.publish(source, "from", folder)
    cancel = threading.Event()
    options = Options(streams=1, part_size=PART)

    def stop(exchange: Exchange) -> None:
        if len(exchange.body) > MIB:
            cancel.set()

    faults.before = stop
    with pytest.raises(TransferCancelled):
        transfer(source, "from", destination, "to", options=options, cancel=cancel)
    assert nothing_visible(destination, faults)
    again = transfer(source, "from", destination, "to", options=options)
    assert again.counts.sent == manifest.size - PART - 10 * 30_000, "the part and the small files that landed stay"


def test_a_manifest_that_lies(broken_destination: Pair, folder: Path) -> None:
    source, destination, faults = broken_destination
    manifest = artifacts.publish(source, "from", folder)
    for change in ({"sha256": hashlib.sha256(b"").hexdigest()}, {"size": 29_999}, {"size": 30_001}):
        lie = [f.model_copy(update=change) if f.path == "small-3" else f for f in manifest.files]
        source.put(f"from/{MANIFEST_NAME}", manifest.model_copy(update={"files": tuple(lie)}).to_bytes())
        with pytest.raises(CorruptArtifact):
            transfer(source, "from", destination, "to", options=OPTIONS)
        assert nothing_visible(destination, faults)
    with pytest.raises(CorruptArtifact, match="digest"):
        transfer(source, "from", destination, "to", digest=manifest.digest, options=OPTIONS)


def test_a_bucket_that_does_not_exist(broken_destination: Pair, folder: Path) -> None:
    source, destination, _ = broken_destination
    artifacts.publish(source, "from", folder)
    bucket = destination.uri.split("//")[1].split("?")[0]
    missing = open_store(destination.uri.replace(bucket, "does-not-exist-0"))
    with pytest.raises(ObjectNotFound):
        transfer(source, "from", missing, "to", options=OPTIONS)
