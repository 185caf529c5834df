"""A transfer that is killed goes on from what the destination holds, and stays within its memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloud_adapters import artifacts
from cloud_adapters.base import MIB
from cloud_adapters.fetching import fetch
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import Options
from tests.contract.conftest import Servers
from tests.contract.faulty import Exchange, Faults, Verdict, faulty
from tests.contract.servers import make_bucket

pytestmark = pytest.mark.fault
PART = 5 * MIB
STREAMS = 3
TWENTY = pytest.param(20, 14, marks=[pytest.mark.slow, pytest.mark.timeout(600)])
SCRIPT = """
import sys
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import Options, transfer
report = transfer(open_store(sys.argv[1]), "from", open_store(sys.argv[2]), "to",
                  options=Options(streams=int(sys.argv[3]), part_size=int(sys.argv[4])))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(report.counts.sent, int(peak.split()[1]) * 1024)
"""


def start(source: str, destination: str, streams: int = STREAMS, part: int = PART) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, source, destination, str(streams), str(part)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("wanted", "count"), [(2, 7), TWENTY])
@pytest.mark.parametrize("kind", ["aws", "gcp", "azure"])
def test_killed_again_and_again(kind: str, wanted: int, count: int, running: Servers, tmp_path: Path) -> None:
    """kill -9 at random points; each death costs at most one part per stream, whatever was being done."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(count * PART - 7))
    source = open_store((tmp_path / "source").as_uri(), file_roots=[tmp_path])
    manifest = artifacts.publish(source, "from", folder)
    dice = random.Random(17)
    deaths = 0
    number = 0
    while deaths < wanted:
        number += 1
        with faulty(running.origin(kind)) as (origin, faults):
            uri = make_bucket(kind, origin, f"b{os.urandom(8).hex()}")
            sent: list[int] = []
            died = sum(run_until_killed(source.uri, uri, faults, dice, sent) for _ in range(min(3, wanted)))
            deaths += died
            arm(faults, count * 100, "before", sent)
            child = start(source.uri, uri)
            _, errors = child.communicate(timeout=120)
            assert child.returncode == 0, errors
        assert len(sent) <= count + died * STREAMS
        destination = open_store(uri.replace(origin, running.origin(kind)))
        fetch(destination, "to", manifest, tmp_path / f"back-{number}")


def run_until_killed(source: str, destination: str, faults: Faults, dice: random.Random, sent: list[int]) -> bool:
    """Starts a transfer and kills it at a random part; False when too little was left for that and it succeeded."""
    reached = arm(faults, dice.randrange(3), dice.choice(["before", "after"]), sent)
    child = start(source, destination)

    def watch() -> None:
        child.wait()
        reached.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert reached.wait(timeout=120)
    child.kill()
    watcher.join()
    _, errors = child.communicate()
    assert child.returncode in {0, -9}, errors
    return child.returncode == -9


def arm(faults: Faults, fatal: int, moment: str, sent: list[int]) -> threading.Event:
    """Counts the parts that are sent, and from part `fatal` on lets no answer through: the sign to kill.

    `before` the part reaches the store, or `after` it has landed but before the mover knows.
    """
    reached = threading.Event()
    landing = iter(range(10**9))

    def before(exchange: Exchange) -> Verdict | None:
        if len(exchange.body) < MIB:
            return None
        sent.append(len(exchange.body))
        return hold() if moment == "before" else None

    def after(exchange: Exchange) -> Verdict | None:
        return hold() if moment == "after" and len(exchange.body) > MIB else None

    def hold() -> Verdict | None:
        if next(landing) < fatal:
            return None
        reached.set()
        return Verdict(stall=True)

    faults.before, faults.after = before, after
    return reached


@pytest.mark.slow
def test_memory_stays_bounded(running: Servers, tmp_path: Path) -> None:
    """An object larger than the bound, with the default options; under 256 MB in all, libraries included."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    with (folder / "large").open("wb") as file:
        file.truncate(320 * MIB)
    source = (tmp_path / "source").as_uri()
    artifacts.publish(open_store(source), "from", folder)
    destination = make_bucket("aws", running.origin("aws"), f"b{os.urandom(8).hex()}")
    child = start(source, destination, Options().streams, Options().part_size)
    output, errors = child.communicate(timeout=170)
    assert child.returncode == 0, errors
    sent, peak = (int(text) for text in output.split())
    assert sent == 320 * MIB
    assert peak < 256 * 1000 * 1000
