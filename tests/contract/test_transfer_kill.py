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
from cloud_adapters.registry import open_store
from tests.contract.conftest import Servers
from tests.contract.faulty import Exchange, faulty
from tests.contract.servers import make_bucket

pytestmark = pytest.mark.fault
PART = 5 * MIB
STREAMS = 3
PARTS = 12
SCRIPT = """
import resource, sys
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import Options, transfer
report = transfer(open_store(sys.argv[1]), "from", open_store(sys.argv[2]), "to",
                  options=Options(streams=int(sys.argv[3]), part_size=int(sys.argv[4])))
print(report.counts.sent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def start(source: str, destination: str, streams: int = STREAMS, part: int = PART) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, source, destination, str(streams), str(part)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["aws", "gcp", "azure"])
def test_killed_20_times(kind: str, running: Servers, tmp_path: Path) -> None:
    """kill -9 at random points; each death costs at most one part per stream, whatever was being done."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "large").write_bytes(os.urandom(PARTS * PART - 7))
    source = open_store((tmp_path / "source").as_uri(), file_roots=[tmp_path])
    manifest = artifacts.publish(source, "from", folder)
    dice = random.Random(17)
    deaths = 0
    for transfer_number in range(7):
        with faulty(running.origin(kind)) as (origin, faults):
            uri = make_bucket(kind, origin, f"b{os.urandom(8).hex()}")
            sent = 0
            for _ in range(3):
                deaths += 1
                fatal = dice.randrange(1, 4)
                reached = threading.Event()
                seen = iter(range(10**9))

                def count(exchange: Exchange, fatal: int = fatal, seen=seen, reached=reached) -> None:  # type: ignore[no-untyped-def]
                    nonlocal sent
                    if len(exchange.body) > MIB:
                        sent += 1
                        if next(seen) == fatal:
                            reached.set()

                faults.before = count
                child = start(source.uri, uri)
                assert reached.wait(60)
                child.kill()
                child.communicate()
                assert child.returncode == -9
            child = start(source.uri, uri)
            _, errors = child.communicate(timeout=120)
            assert child.returncode == 0, errors
        assert sent <= PARTS + 3 * STREAMS
        destination = open_store(uri.replace(origin, running.origin(kind)))
        artifacts.fetch(destination, "to", manifest, tmp_path / f"back-{transfer_number}")
    assert deaths >= 20


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """1 GiB (sparse, so that it costs no disk) with the default options; under 256 MB in all, libraries included."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    with (folder / "large").open("wb") as file:
        file.truncate(1024 * MIB)
    source = (tmp_path / "source").as_uri()
    artifacts.publish(open_store(source), "from", folder)
    child = start(source, (tmp_path / "destination").as_uri(), 6, 8 * MIB)
    output, errors = child.communicate(timeout=170)
    assert child.returncode == 0, errors
    peak = int(output.split()[1])
    assert 0 < peak < 256 * 1000 * 1000
