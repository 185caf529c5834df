"""What the storm's users run. The file is uploaded with their jobs; everything in it is deterministic, so that the
oracle knows what has to come out, however often a job was interrupted."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import orchestrator as nu


def lines(count: int, pause: float = 0.0) -> None:
    """Write numbered lines, and the numbers once more as a metric."""
    job = nu.run()
    for number in range(count):
        print(f"line {number}")  # noqa: T201
        job.log_metrics({"number": number}, step=number)
        time.sleep(pause)


def chain_of(count: int) -> str:
    """The result of so many steps: each one hashes the result of the one before."""
    state = ""
    for step in range(1, count + 1):
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
    return state


def chain(count: int, pause: float = 0.0, hold: int = 0, gate: str = "") -> None:
    """Do the steps of `chain_of` with a checkpoint after each, and leave the result as an output. Step `hold` waits for
    the file `gate`."""
    job = nu.run()
    done = job.resume_step or 0
    state = (job.resume_dir / "state").read_text() if job.resume_dir else ""
    print(f"begin after {done}")  # noqa: T201
    folder = Path("checkpoint")
    folder.mkdir(exist_ok=True)
    for step in range(done + 1, count + 1):
        while step == hold and not Path(gate).exists():
            time.sleep(0.02)
        state = hashlib.sha256(f"{state}{step}".encode()).hexdigest()
        (folder / "state").write_text(state)
        try:
            job.checkpoint(folder, step)
        except RuntimeError as error:  # the next one may get through
            print(f"not saved {step}: {error}")  # noqa: T201
        else:
            print(f"saved {step}")  # noqa: T201
        time.sleep(pause)
    (job.output_dir / "result").write_text(state)


def fail(code: int) -> None:
    """End with an exit code."""
    raise SystemExit(code)


def kill_worker() -> None:
    """Kill the worker that runs this."""
    pid = os.getpid()
    while b"workers\0" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)


def stay_once() -> None:
    """Tell the process id; stay for ever in the first attempt, and end at once in every other."""
    print(os.getpid())  # noqa: T201
    if nu.run().id.endswith(".1"):
        time.sleep(1000)
