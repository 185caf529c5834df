"""Work as processes of this machine: what a cluster does, without one. Several nodes are several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_adapters.compute import Offer, Phase, Piece, Status, Work
from cloud_adapters.compute_errors import WorkExists, WorkNotFound, WorkRefused
from orchestrator.domain.state import Reason

_LOOK_SECONDS = 0.1
_TOKEN = "token"  # noqa: S105 - the name of a file


@dataclass(slots=True)
class _Running:
    """The processes of some work; those that were asked to go are killed at `gone_by`."""

    work: Work
    processes: list[subprocess.Popen[bytes]]
    gone_by: float | None = None


class ProcessCompute:
    """Runs work below `folder`, one folder for each. Its processes end with it: they do not outlive this object's
    process group, as pods outlive their launcher."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self.synced = threading.Event()
        self.silent_since: float | None = None

    def offers(self) -> tuple[Offer, ...]:
        """This machine."""
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        return (Offer(machines=1, cpu=float(os.cpu_count() or 1), memory=pages * size),)

    def launch(self, work: Work) -> None:
        if work.image is not None or work.secrets:
            raise WorkRefused("This machine has no images and keeps no secrets.", hint="Use a pool on a cluster.")
        with self._lock:
            if (known := self._running.get(work.name)) is not None:
                if dict(known.work.labels) != dict(work.labels):
                    raise WorkExists(f"There is other work of the name {work.name}.")
                return
            folder = self._folder / work.name
            folder.mkdir(parents=True)
            (folder / _TOKEN).touch(0o600)
            (folder / _TOKEN).write_text(work.token, encoding="ascii")
            processes = [self._start(work, folder, index) for index in range(work.nodes)]
            self._running[work.name] = _Running(work, processes)

    def _start(self, work: Work, folder: Path, index: int) -> subprocess.Popen[bytes]:
        own = folder / str(index)
        own.mkdir()
        env = {
            **os.environ,
            **work.env,
            "JOB_COMPLETION_INDEX": str(index),
            "NEUTRINO_DATA_DIR": str(own),
            "NEUTRINO_TOKEN_FILE": str(folder / _TOKEN),
            "NEUTRINO_NODES": str(work.nodes),
            "NEUTRINO_MASTER": socket.gethostname(),
        }
        with (folder / f"{index}.log").open("wb") as log:
            return subprocess.Popen(
                work.command, env=env, cwd=own, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def status(self, name: str) -> Status | None:
        with self._lock:
            running = self._running.get(name)
            if running is None:
                return None
            pieces = tuple(_piece(index, one, running.gone_by) for index, one in enumerate(running.processes))
        return Status(name, pieces, doomed=running.gone_by is not None)

    def inventory(self) -> dict[str, Status]:
        return {name: status for name in list(self._running) if (status := self.status(name)) is not None}

    def look_around(self) -> None:
        """There is nothing that `watch` does not see."""

    def logs(self, name: str, index: int = 0, *, tail: int = 100) -> Iterator[str]:
        path = self._folder / name / f"{index}.log"
        if not path.exists():
            raise WorkNotFound(f"There is no work {name} with a node {index}.")
        yield from path.read_text("utf-8", "replace").splitlines()[-tail:]

    def terminate(self, name: str) -> None:
        with self._lock:
            if (running := self._running.get(name)) is None or running.gone_by is not None:
                return
            running.gone_by = time.time() + running.work.grace
            for process in running.processes:
                _signal(process, signal.SIGTERM)

    def release(self, name: str) -> None:
        with self._lock:
            running = self._running.pop(name, None)
        if running is not None:
            for process in running.processes:
                _signal(process, signal.SIGKILL)
                process.wait()
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def watch(self, on_change: Callable[[str], None], stop: threading.Event) -> None:
        self.synced.set()
        seen: dict[str, str] = {}
        while not stop.wait(_LOOK_SECONDS):
            self._hurry()
            now = {name: json.dumps(str(status.pieces)) for name, status in self.inventory().items()}
            for name in seen.keys() | now.keys():
                if seen.get(name) != now.get(name):
                    on_change(name)
            seen = now

    def _hurry(self) -> None:
        """Kill what was asked to go and had its time."""
        with self._lock:
            for running in self._running.values():
                if running.gone_by is not None and time.time() > running.gone_by:
                    for process in running.processes:
                        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def _piece(index: int, process: subprocess.Popen[bytes], gone_by: float | None) -> Piece:
    code, place = process.poll(), socket.gethostname()
    if code is None:
        return Piece(index, Phase.RUNNING, place=place, gone_by=gone_by)
    if code == 0:
        return Piece(index, Phase.SUCCEEDED, exit_code=0, place=place)
    code = code if code > 0 else 128 - code
    text = f"Its process ended with code {code} and told nobody."
    return Piece(index, Phase.FAILED, Reason.INFRA_ERROR, text, code, place)
