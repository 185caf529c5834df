"""Bytes that version 2 of a model moves to a cloud that has version 1, from S3 to GCS: what did not change stays."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from bench.figures import Figure
from orchestrator import Client, Command, Outputs, Placement
from orchestrator.embedded.demo.clouds import three_clouds

FILES, CHANGED, SIZE = 100, 10, 256 * 1024
_AIM = 0.11
_WRITE = """
import random, sys
import orchestrator as nu
files, changed, size, version = map(int, sys.argv[1:])
for number in range(files):
    dice = random.Random(f"{number} {version if number < changed else 0}")
    (nu.run().output_dir / f"{number:03}.bin").write_bytes(dice.randbytes(size))
"""


def figure() -> Figure:
    """Make two versions, migrate both, and compare."""
    folder = Path(tempfile.mkdtemp(prefix="neutrino-bench-"))
    folder.chmod(0o711)
    try:
        with three_clouds(folder) as (stack, _), Client(url=stack.url, token=stack.admin_token) as client:
            _migrate(client, 1)
            moved, total = _migrate(client, 2)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    share = moved / total
    what, of = f"bytes that version 2 moves, {CHANGED} of {FILES} files changed", f"{total:,} bytes in all"
    return Figure(what, f"{moved:,}", of, share, f"≤ {_AIM}", share <= _AIM)


def _migrate(client: Client, version: int) -> tuple[int, int]:
    command = ("python", "-c", _WRITE, *map(str, (FILES, CHANGED, SIZE, version)))
    job = Command(name="bench", command=command, outputs=Outputs(model="bench"), placement=Placement(clouds=("aws",)))
    view = client.jobs.submit(job).wait(timeout=300).model.migrate("gcp").wait(timeout=300).view
    assert view.moved_bytes is not None
    assert view.total_bytes is not None
    return view.moved_bytes, view.total_bytes


if __name__ == "__main__":
    from bench.figures import show

    show([figure()])
