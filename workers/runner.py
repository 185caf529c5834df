"""The agent's end of the zygote: starts it, speaks with it, and starts another when it dies."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import logging
import math
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from workers import proctree
from workers.zygote import LARGEST_PACKET

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds in which the zygote takes a packet; it never blocks, so one that does not is stuck
_BUFFER = 1024 * 1024
# What a job may see of the worker's own environment: nothing that could be a credential.
_INHERITED = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_INHERITED_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "OPENBLAS_")


class Exit(NamedTuple):
    """How an attempt's process ended: an exit code, or minus the signal's number, as subprocess has it; None when it
    never ran, or when nobody saw its end. `fault` says why, or why the zygote killed it."""

    code: int | None
    fault: str = ""


def job_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment that every job starts from; its spec adds to it."""
    kept = {name: value for name, value in env.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)}
    here = str(Path(sys.executable).parent)
    path = f"{here}{os.pathsep}{env.get('PATH', os.defpath)}"
    return {"LANG": "C.UTF-8", **kept, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


class Runner:
    """Starts, signals and kills attempts. Made before the agent has threads; `attach` joins it to the event loop.

    `good_until` is what `alive` was last told; before that nothing ends anything.
    """

    def __init__(self, lock: int, cwd: Path, most_processes: int, slots: int) -> None:
        self._lock = lock
        self._cwd = cwd
        self._most_processes = most_processes
        self._slots = slots
        self._workloads = {point.name: point.value for point in metadata.entry_points(group="neutrino.workloads")}
        self._running: dict[str, asyncio.Future[Exit]] = {}
        self.good_until = math.inf
        self._on_started: Callable[[str, int], None] = lambda _attempt, _pid: None
        proctree.become_subreaper()
        self._spawn()

    def _spawn(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._socket.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.zygote", *self._arguments(theirs)],
                pass_fds=(theirs.fileno(), self._lock),
                env=job_environment(os.environ),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self._cwd,
            )

    def _arguments(self, theirs: socket.socket) -> list[str]:
        in_all = 2 * self._slots * self._most_processes  # threads count too
        return [str(theirs.fileno()), json.dumps(self._workloads), str(self._most_processes), str(in_all)]

    def attach(self, on_started: Callable[[str, int], None]) -> None:
        """Join the running event loop."""
        self._on_started = on_started
        asyncio.get_running_loop().add_reader(self._socket, self._on_readable)

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    def start(self, attempt: str, folder: Path, stdio: tuple[int, int]) -> asyncio.Future[Exit]:
        """Fork a process for an attempt. The future resolves when it and all that it started are gone."""
        future: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._running[attempt] = future
        self._send(["start", attempt, str(folder)], stdio)
        return future

    def signal(self, attempt: str, number: signal.Signals) -> None:
        """Send a signal to an attempt's process group."""
        self._send(["signal", attempt, int(number)])

    def kill(self, attempt: str) -> None:
        """Kill an attempt's process and all that it started."""
        self._send(["kill", attempt])

    def alive(self, until: float) -> None:
        """Everything may run until then (by `zygote.clock()`); without another word the zygote then kills it all."""
        self.good_until = until
        self._send(["alive", until])

    def close(self) -> None:
        """Let the zygote kill what is left and end, and wait for that."""
        self._socket.close()
        self._process.wait()

    def _send(self, packet: list[object], fds: tuple[int, ...] = ()) -> None:
        data = json.dumps(packet).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._wait_until_writable()
            self._socket.sendmsg([data], rights)
        except OSError as error:
            # The other end is gone or stuck. Killing it makes the reader see the end, and that is where we recover.
            log.error("The zygote takes no packets (%s).", error)
            self._process.kill()

    def _wait_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(_PATIENCE * 1000):
            raise TimeoutError("it is stuck")

    def _on_readable(self) -> None:
        while True:
            try:
                data = self._socket.recv(LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._replace()
                return
            started, ended = json.loads(data)
            for attempt, pid in started:
                self._on_started(attempt, pid)
            for attempt, code, fault in ended:
                self._resolve(attempt, Exit(code, fault))

    def _resolve(self, attempt: str, end: Exit) -> None:
        future = self._running.pop(attempt, None)
        if future is not None and not future.done():
            future.set_result(end)

    def _replace(self) -> None:
        """The zygote died. Its attempts die with it; what they left behind has come to us, to be killed."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._socket.close()
        self._process.kill()
        status = self._process.wait()
        log.error("The zygote ended (%s); %d attempts end with it.", status, len(self._running))
        self._kill_orphans()
        for attempt in list(self._running):
            self._resolve(attempt, Exit(None, "The worker's own process runner died."))
        self._spawn()
        loop.add_reader(self._socket, self._on_readable)
        self.alive(self.good_until)

    def _kill_orphans(self) -> None:
        """Attempts lead sessions of their own, which tells their remains from other children of this process."""
        own = os.getsid(0)
        while orphans := [pid for pid in proctree.children(os.getpid()) if _session(pid) not in {own, None}]:
            proctree.kill_trees(orphans)
            for pid in orphans:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
