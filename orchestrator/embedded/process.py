"""Child processes: how one is started without ever being forgotten, and how a family of them is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

# The start time of a process is computed from the clock, which may be corrected while it runs.
_CLOCK_SLACK_S = 2.0
_POLL_S = 0.02
_KILL_S = 10.0

# The child waits at this gate until its pid is on disk. If its parent dies before that, the read ends and so does the
# child: there is no moment in which a child runs that nobody could find again.
_GATE = 'read -r go && exec "$@" </dev/null'


def _nothing() -> None:
    return


def at_once() -> bool:
    """The readiness of a child that is as good as ready when it runs."""
    return True


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running.

    `before` runs before each start, `ready` tells whether it serves. It is asked to end with `stop_signal` and has
    `grace_s` seconds to do so.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    before: Callable[[], None] = _nothing
    ready: Callable[[], bool] = at_once
    ready_within_s: float = 60.0
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A process and its start time, so that a pid used again by the system is not taken for it."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a running process."""
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _CLOCK_SLACK_S
        except psutil.NoSuchProcess:
            return None
        return process if same and _alive(process) else None


@dataclass(frozen=True, slots=True)
class Running:
    """A child that was started, with what is needed to stop it from another process."""

    identity: Identity
    stop_signal: int
    grace_s: float


@contextlib.contextmanager
def started(child: Child, log: IO[bytes]) -> Iterator[tuple[subprocess.Popen[bytes], Running]]:
    """Start a child, but let it run only when the block has ended well: record it there."""
    popen = subprocess.Popen(
        ["/bin/sh", "-c", _GATE, child.name, *child.argv],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=dict(child.env),
        cwd=child.cwd,
        start_new_session=True,  # a Ctrl-C on the terminal is for the supervisor alone
    )
    assert popen.stdin is not None
    try:
        yield popen, Running(Identity.of(popen.pid), child.stop_signal, child.grace_s)
        with contextlib.suppress(BrokenPipeError):  # killed at the gate: its exit code tells
            popen.stdin.write(b"go\n")
            popen.stdin.flush()
    except BaseException:
        popen.kill()
        popen.wait()
        raise
    finally:
        with contextlib.suppress(BrokenPipeError):
            popen.stdin.close()


def stop(running: Iterable[Running]) -> None:
    """Stop processes together: their signal, their grace, then SIGKILL to whatever is left of their families."""
    leaders = [(one, process) for one in running if (process := one.identity.find())]
    families = [process for _, leader in leaders for process in _family(leader)]
    for one, leader in leaders:
        _signal(leader, one.stop_signal)
    began = time.monotonic()
    while any(_alive(leader) and time.monotonic() < began + one.grace_s for one, leader in leaders):
        time.sleep(_POLL_S)
    families += [process for _, leader in leaders for process in _family(leader)]
    for one, _ in leaders:
        end_group(one.identity.pid)
    kill(families)


def kill(processes: Sequence[psutil.Process]) -> None:
    """Kill processes and wait until they are gone, for some seconds at most."""
    for process in processes:
        _signal(process, signal.SIGKILL)
    began = time.monotonic()
    while any(map(_alive, processes)) and time.monotonic() < began + _KILL_S:
        time.sleep(_POLL_S)


def end_group(leader: int) -> None:
    """Kill what is left of the process group of a child that has ended, or will not."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # psutil looks at the start time before it sends
        process.send_signal(number)


def _alive(process: psutil.Process) -> bool:
    # A zombie has ended; that its parent has not asked how does not make it run.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
