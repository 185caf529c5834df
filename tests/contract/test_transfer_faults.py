"""What breaks on the way ends in success or in a clear error, and never in something half visible."""

from __future__ import annotations

import _thread
import hashlib
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cloud_adapters import artifacts, wire
from cloud_adapters.base import MIB
from cloud_adapters.errors import CredentialsExpired, ObjectNotFound, StoreFull, Throttled
from cloud_adapters.fetching import fetch
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from cloud_adapters.transfer import Options, Progress, TransferCancelled, copy, transfer
from orchestrator.domain.artifact import MANIFEST_NAME
from orchestrator.domain.errors import CorruptArtifact
from tests.contract.conftest import Servers
from tests.contract.faulty import Before, Exchange, Faults, Verdict, faulty
from tests.contract.servers import make_bucket

pytestmark = pytest.mark.fault
PART = 5 * MIB
OPTIONS = Options(streams=3, small_streams=4, part_size=PART)
Pair = tuple[RetryingStore, RetryingStore, Faults]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "artifact"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(2 * PART + MIB))
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
    fetch(destination, "to", manifest, tmp_path / "back")


def test_bodies_cut_short(broken_source: Pair, folder: Path, tmp_path: Path) -> None:
    source, destination, faults = broken_source
    manifest = artifacts.publish(source, "from", folder)
    faults.after = data_exchanges(lambda turn: turn % 3 == 0, Verdict(cut=True))
    transfer(source, "from", destination, "to", options=OPTIONS)
    fetch(destination, "to", manifest, tmp_path / "back")


def test_a_connection_that_stalls(broken_source: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALL_S", 3.0)  # before anything connects
    source, destination, faults = broken_source
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


def test_credentials_that_are_renewed(broken_destination: Pair, folder: Path) -> None:
    source, destination, faults = broken_destination
    manifest = artifacts.publish(source, "from", folder)
    faults.before = data_exchanges(lambda turn: 2 < turn < 6, Verdict(401))
    transfer(source, "from", destination, "to", options=OPTIONS)
    assert artifacts.read_manifest(destination, "to") == manifest


def test_a_full_disk(folder: Path, tmp_path: Path) -> None:
    """A process that may write no file above 3 MiB meets the error of a disk that is full."""
    source = open_store((tmp_path / "source").as_uri(), file_roots=[tmp_path])
    artifacts.publish(source, "from", folder)
    script = (
        "import resource, sys\n"
        "from cloud_adapters.registry import open_store\n"
        "from cloud_adapters.transfer import Options, transfer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))\n"
        "try: transfer(open_store(sys.argv[1]), 'from', open_store(sys.argv[2]), 'to',\n"
        "              options=Options(bandwidth=1e9))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    destination = (tmp_path / "destination").as_uri()
    command = [sys.executable, "-c", script, source.uri, destination]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "StoreFull\n", ran.stderr
    assert not (tmp_path / "destination/to" / MANIFEST_NAME).exists()
    assert not (tmp_path / "destination/to/large").exists()


def test_a_source_that_is_gone_for_good(broken_source: Pair, folder: Path) -> None:
    source, destination, faults = broken_source
    artifacts.publish(source, "from", folder)
    faults.before = data_exchanges(lambda _: True, Verdict(503), size=-1)
    with pytest.raises(Throttled):
        transfer(source, "from", destination, "to", options=OPTIONS)
    assert nothing_visible(destination, faults)


def flip(data: bytearray | memoryview, dice: random.Random) -> None:
    """Flips one bit."""
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


@pytest.fixture
def two_hundred(tmp_path: Path) -> Path:
    """An artifact of 200 files, each of which is one request on its way."""
    root = tmp_path / "two hundred"
    root.mkdir()
    for number in range(200):
        (root / f"{number:03d}").write_bytes(os.urandom(11_000))
    return root


def flip_each_once(moving: Callable[[Exchange], bytearray], dice: random.Random) -> tuple[Before, Counter[str]]:
    """Flips one bit of the first body that moves to or from each place; counts all bodies by place."""
    seen = Counter[str]()

    def damage(exchange: Exchange) -> None:
        body = moving(exchange)
        if len(body) < 10_000 or MANIFEST_NAME in exchange.path:
            return
        envelope = 500 if b"Content-Type" in body[:200] else 0  # GCS wraps an object into a few lines of its own
        name = str(re.search(rb'"name": "([^"]+)"', body[:300])) if envelope else exchange.path.split("?")[0]
        seen[name] += 1
        if seen[name] == 1:
            with memoryview(body) as view:
                flip(view[envelope : len(view) - envelope], dice)

    return damage, seen


def test_200_bits_flipped_on_the_way_in_are_detected(broken_source: Pair, two_hundred: Path, tmp_path: Path) -> None:
    """One bit of every file is flipped when it is first read: 200 of 200 are noticed, and read again."""
    source, destination, faults = broken_source
    manifest = artifacts.publish(source, "from", two_hundred)
    faults.after, read = flip_each_once(lambda exchange: exchange.answer, random.Random(7))
    transfer(source, "from", destination, "to", options=OPTIONS)
    assert list(read.values()) == [2] * 200
    fetch(destination, "to", manifest, tmp_path / "back")


def test_200_bits_flipped_on_the_way_out_are_detected(
    broken_destination: Pair, two_hundred: Path, tmp_path: Path
) -> None:
    """Where the store verifies bodies, each of 200 is refused and sent again; else reading back finds the first."""
    source, destination, faults = broken_destination
    manifest = artifacts.publish(source, "from", two_hundred)
    faults.before, sent = flip_each_once(lambda exchange: exchange.body, random.Random(11))
    if destination.provider == "aws":  # moto takes whatever comes
        with pytest.raises(CorruptArtifact):
            transfer(source, "from", destination, "to", options=OPTIONS)
        assert nothing_visible(destination, faults)
        return
    transfer(source, "from", destination, "to", options=OPTIONS)
    manifest_too = 1 if destination.provider == "gcp" else 0  # whose name is in the body there
    assert list(sent.values()) == [2] * (200 + manifest_too)
    fetch(destination, "to", manifest, tmp_path / "back")


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_bit_flipped_in_a_part_is_detected(broken_destination: Pair, folder: Path, tmp_path: Path, turn: int) -> None:
    """On the way to the store, in every part of a large object; with and without the store's help."""
    source, destination, faults = broken_destination
    manifest = artifacts.publish(source, "from", folder)
    dice, parts = random.Random(turn), iter(range(10**9))

    def damage(exchange: Exchange) -> None:
        if len(exchange.body) > MIB // 2 and next(parts) == turn % 2:
            with memoryview(exchange.body) as view:
                flip(view[500:-500], dice)

    faults.before = damage
    options = replace(OPTIONS, trust_store=None if turn % 3 else False)
    try:
        transfer(source, "from", destination, "to", options=options)
    except CorruptArtifact:
        assert nothing_visible(destination, faults)
    else:
        fetch(destination, "to", manifest, tmp_path / "back")


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
        use: Callable[[], object] = partial(fetch, destination, "good", manifest, tmp_path / "back")
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
            (tmp_path / "source/from/large").write_bytes(os.urandom(2 * PART + MIB))

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


def test_ctrl_c_ends_a_transfer_that_waits_for_its_pace(tmp_path: Path) -> None:
    """All files but the first few would take hours; the large one, too, of which one part would have to wait."""
    source = open_store((tmp_path / "source").as_uri(), file_roots=[tmp_path])
    for number in range(40):
        source.put(f"from/{number:02d}", bytes(1000))
    files = [(info, info.key) for info in source.list("from")]
    destination = open_store((tmp_path / "destination").as_uri(), file_roots=[tmp_path])

    def press(_: Progress) -> None:
        if not pressed.is_set():
            pressed.set()
            _thread.interrupt_main()

    pressed = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        copy(source, files, destination, options=Options(bandwidth=1), on_progress=press)
    pressed.clear()
    source.put("large", bytes(MIB))
    with pytest.raises(KeyboardInterrupt):
        copy(
            source, [(source.head("large"), "large")], destination,
            options=Options(bandwidth=1, part_size=MIB // 4), on_progress=press,
        )  # fmt: skip
    assert len(list(destination.list("from"))) < 3


def test_no_wait_for_another_attempt_outlives_the_transfer(broken_destination: Pair, folder: Path) -> None:
    """The store is busy, and would be asked again in hours; meanwhile the transfer is cancelled, or fails elsewhere."""
    source, destination, faults = broken_destination
    artifacts.publish(source, "from", folder)
    destination.retry = Retry(base_s=10_000, cap_s=10_000)
    cancel = threading.Event()

    def busy_until_cancelled(_: Exchange) -> Verdict:
        cancel.set()
        return Verdict(503)

    faults.before = busy_until_cancelled
    with pytest.raises(TransferCancelled):
        transfer(source, "from", destination, "to", options=replace(OPTIONS, trust_store=False), cancel=cancel)
    first = iter([Verdict(503)])
    faults.before = lambda exchange: next(first, Verdict(507, "QuotaExceeded")) if len(exchange.body) > 10_000 else None
    with pytest.raises(StoreFull):
        transfer(source, "from", destination, "to", options=replace(OPTIONS, trust_store=False))


def test_a_copy_inside_the_provider_that_is_denied(running: Servers, folder: Path, tmp_path: Path) -> None:
    """Who may write to the destination need not be allowed to read the source: then the bytes come through here."""
    with faulty(running.origin("aws")) as (origin, faults):
        source, destination = (open_store(make_bucket("aws", origin, f"b{os.urandom(8).hex()}")) for _ in range(2))
        manifest = artifacts.publish(source, "from", folder)
        asked: list[str] = []

        def deny(exchange: Exchange) -> Verdict | None:
            if "x-amz-copy-source" not in exchange.headers:
                return None
            asked.append(exchange.path)
            return Verdict(403, "AccessDenied")

        faults.before = deny
        report = transfer(source, "from", destination, "to", options=OPTIONS)
        fetch(destination, "to", manifest, tmp_path / "back")
    assert (report.counts.sent, report.counts.crossed) == (manifest.size, 0)
    assert 0 < len(asked) <= OPTIONS.small_streams, "it is not tried again with every file"


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
