"""Neutrino's transfers against rclone, S3 → Azure, on the same servers in the same run.

    python -m bench.transfer --s3 http://127.0.0.1:59000 --azure http://127.0.0.1:59001/account --rclone rclone

The servers must hold objects in memory, so that the movers are what is measured; any that speak S3 and Azure Blob will
do. Prints one JSON line per mover: seconds, MiB/s and CPU seconds per GiB of the mover's own process.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from urllib.parse import quote

from cloud_adapters.artifacts import commit_manifest
from cloud_adapters.base import MIB, join_key
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import Options, transfer
from orchestrator.domain.artifact import Manifest, ManifestFile

SHAPES = {"large": (1, 1024 * MIB), "small": (1000, 64 * 1024)}


def seed(source_uri: str, shape: str) -> Manifest:
    """Puts an artifact of that shape into the source."""
    count, size = SHAPES[shape]
    store = open_store(source_uri)
    block = os.urandom(8 * MIB)
    files = []
    for number in range(count):
        key, sha = join_key(shape, f"{number:04d}"), hashlib.sha256()
        if size <= len(block):
            data = number.to_bytes(8) + block[8:size]
            sha.update(data)
            store.put(key, data)
        else:
            upload = store.start_upload(key, part_size=len(block))
            parts = []
            for part in range(1, size // len(block) + 1):
                sha.update(block)
                parts.append(store.put_part(upload, part, block))
            store.finish_upload(upload, parts)
        files.append(ManifestFile(path=f"{number:04d}", size=size, sha256=sha.hexdigest()))
    manifest = Manifest.of(files)
    commit_manifest(store, shape, manifest)
    return manifest


def ours(source_uri: str, destination_uri: str, shape: str, proof: str, run: int) -> None:
    """One transfer, in a process of its own; prints its seconds, without the start of Python."""
    options = Options(trust_store={"store": True, "read-back": False}[proof])
    source, destination = open_store(source_uri), open_store(destination_uri)
    start, cpu = time.perf_counter(), cpu_seconds(resource.RUSAGE_SELF)
    transfer(source, shape, destination, f"{shape}-{run}/{proof}", options=options)
    spent = cpu_seconds(resource.RUSAGE_SELF) - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": time.perf_counter() - start, "cpu": spent, "peak_mib": peak}))


def cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def run_rclone(rclone: str, arguments: argparse.Namespace, shape: str, target: str) -> dict[str, float]:
    """One `rclone copy`, tuned: 64 transfers for small files, as many streams as ours for a large one."""
    s3 = f":s3,provider=Minio,endpoint='{arguments.s3}',access_key_id=test,secret_access_key=test,force_path_style:"
    azure = f":azureblob,account=account,key='{arguments.key}',endpoint='{arguments.azure}':"
    tuned = {
        "small": ["--transfers", "64", "--checkers", "64"],
        "large": ["--multi-thread-streams", "8", "--azureblob-upload-concurrency", "8", "--azureblob-chunk-size", "8M"],
    }[shape]
    command = [rclone, "copy", f"{s3}bench/{shape}", f"{azure}bench/{target}", "--retries", "1", "--s3-no-check-bucket"]
    before, start = cpu_seconds(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [*command, *tuned, "--azureblob-no-check-container"], check=True, env=os.environ | {"RCLONE_CONFIG": ""}
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu": cpu_seconds(resource.RUSAGE_CHILDREN) - before}


def run_ours(shape: str, proof: str, run: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.transfer", *sys.argv[1:], "--one", shape, proof, str(run)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--s3", required=True)
    parser.add_argument("--azure", required=True)
    parser.add_argument("--rclone", help="path of rclone; without it only ours is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.key = base64.b64encode(b"a key for a server on loopback").decode()
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AZURE_STORAGE_KEY": arguments.key}
    source = f"s3://bench?endpoint={quote(arguments.s3)}"
    destination = f"az://bench?endpoint={quote(arguments.azure)}"
    if arguments.one:
        shape, proof, run = arguments.one
        ours(source, destination, shape, proof, run)
        return
    for shape in arguments.shapes:
        seed(source, shape)
        store = open_store(destination)
        results: dict[str, list[dict[str, float]]] = {}
        for run in range(arguments.rounds):  # interleaved, so that a noisy neighbour hurts all alike
            for proof in ("store", "read-back"):
                results.setdefault(f"neutrino, {proof}", []).append(run_ours(shape, proof, run))
            if arguments.rclone:
                found = run_rclone(arguments.rclone, arguments, shape, f"{shape}-{run}/rclone")
                results.setdefault("rclone", []).append(found)
            for info in list(store.list(f"{shape}-{run}")):  # a server that holds objects in memory has not much of it
                store.delete(info.key)
        count, size = SHAPES[shape]
        for mover, runs in results.items():
            seconds = statistics.median(one["seconds"] for one in runs)
            cpu = statistics.median(one["cpu"] for one in runs)
            line = {
                "shape": shape,
                "mover": mover,
                "seconds": round(seconds, 3),
                "best": round(min(r["seconds"] for r in runs), 3),
            }
            line |= {
                "mib_per_s": round(count * size / MIB / seconds),
                "cpu_s_per_gib": round(cpu * 1024 * MIB / count / size, 2),
            }
            print(json.dumps(line | {"peak_mib": max(one.get("peak_mib", 0) for one in runs)}), flush=True)


if __name__ == "__main__":
    main()
