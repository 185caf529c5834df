"""The zygote: a small warm process from which every attempt is forked, so that no job pays for starting Python.

It has one thread and little memory, because both make forking dear or dangerous. It talks to the agent in packets over
a socket (one JSON list each; a new attempt's stdout and stderr travel with the packet), waits for the attempts, and is
the one that kills them: as their parent it knows that a process id has not been given to somebody else.

It is also the dead man's switch. When the agent is gone, or has not renewed the right to run in time because it is
stopped or cut off, everything is killed without being asked.

ADR 0005 has the reasons and the figures.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from workers import child, proctree

LARGEST_PACKET = 64 * 1024
_RETRY_MS = 20
_LOOK_MS = 100  # at the number of processes, and at the deadline
_MOST_NEWS = 200
_OOM_SCORE = "600"
_INITIAL_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h


def clock() -> float:
    """Seconds that also pass while the machine sleeps; the same for all processes of a machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Start(NamedTuple):
    """An attempt to be forked: its folder, and its stdout and stderr."""

    attempt: str
    folder: str
    stdio: list[int]


class Zygote:
    """Forks, waits and kills as the agent says."""

    def __init__(self, agent: socket.socket, workloads: dict[str, str], most_processes: int) -> None:
        self._agent = agent
        agent.setblocking(False)  # recv_fds ignores MSG_DONTWAIT (seen in Python 3.11)
        self._workloads = workloads
        self._most_processes = most_processes
        self._tasks = proctree.tasks()
        self._faults: dict[int, str] = {}
        self._leaders: dict[int, str] = {}
        self._started: list[tuple[str, int]] = []  # still to be told to the agent
        self._ended: list[tuple[str, int | None, str]] = []  # the same
        self._unsent: list[tuple[str, int]] = []
        self._strays_possible = False
        self._deadline = float("inf")
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _do_nothing)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(agent, select.POLLIN)

    def serve(self) -> None:
        """Obey until the agent is gone; then leave nothing running."""
        with contextlib.suppress(ConnectionError):
            while self._obey():
                self._reap()
                self._signal_again()
                self._tell()
                self._poll.poll(self._patience())
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                if clock() > self._deadline:
                    self._kill_everything()
                if self._leaders:
                    self._stop_explosions()
        self._kill_everything()
        while self._leaders or self._kill_strays():
            self._reap()
            time.sleep(_RETRY_MS / 1000)

    def _patience(self) -> int | None:
        """Milliseconds until something is to be done unasked."""
        if self._strays_possible or self._ended or self._started or self._unsent:
            return _RETRY_MS
        return _LOOK_MS if self._leaders else None

    def _obey(self) -> bool:
        """Do what the waiting packets say. False when the agent is gone."""
        starts: list[_Start] = []
        while (received := self._receive()) is not None:
            data, fds = received
            if not data:
                return False
            packet = json.loads(data)
            if packet[0] == "start":
                starts.append(_Start(packet[1], packet[2], fds))
                continue
            self._start(starts)  # what comes next may be meant for one of them
            starts = []
            match packet:
                case ["signal", attempt, number]:
                    self._signal(attempt, number)
                case ["kill", attempt]:
                    proctree.kill_trees(self._leaders_of(attempt))
                case ["alive", deadline]:
                    self._deadline = deadline
                case unknown:
                    raise ValueError(f"not a packet of the agent: {unknown!r}")
        self._start(starts)
        return True

    def _receive(self) -> tuple[bytes, list[int]] | None:
        """A packet and the descriptors that came with it; None when none waits."""
        try:
            data, fds, _, _ = socket.recv_fds(self._agent, LARGEST_PACKET, 2)
        except BlockingIOError:
            return None
        return data, fds

    def _signal(self, attempt: str, number: int) -> None:
        for leader in self._leaders_of(attempt):
            try:
                os.killpg(leader, number)
                os.killpg(leader, signal.SIGCONT)
            except ProcessLookupError:  # forked just now, and not yet the leader of a group: in the next round it is
                self._unsent.append((attempt, number))

    def _signal_again(self) -> None:
        unsent, self._unsent = self._unsent, []
        for attempt, number in unsent:
            self._signal(attempt, number)

    def _leaders_of(self, attempt: str) -> list[int]:
        return [pid for pid, name in self._leaders.items() if name == attempt]

    def _start(self, starts: list[_Start]) -> None:
        """Fork for each of them, one right after the other: every fork makes all pages of this process copy on write
        anew, so that what else it does in between costs several times as much."""
        me = os.getpid()
        pids = [self._fork(start, me) for start in starts]
        for start, pid in zip(starts, pids, strict=True):
            for fd in start.stdio:
                os.close(fd)
            if pid is not None:
                self._leaders[pid] = start.attempt
                self._started.append((start.attempt, pid))

    def _fork(self, start: _Start, me: int) -> int | None:
        try:
            pid = os.fork()
        except OSError as error:
            self._ended.append((start.attempt, None, f"No process could be made: {error.strerror}."))
            return None
        if pid == 0:
            try:
                child.main(start.folder, start.stdio, me, self._workloads)
            finally:  # only after a fault of ours: the traceback goes to the attempt's log
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        return pid

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    self._strays_possible |= not self._leaders
                    break
                attempt = self._leaders.pop(pid, None)
                if attempt is not None:
                    # A leader that exits by itself has seen to its descendants; one that was killed could not.
                    self._strays_possible |= os.WIFSIGNALED(status)
                    self._ended.append((attempt, os.waitstatus_to_exitcode(status), self._faults.pop(pid, "")))

    def _tell(self) -> None:
        """Tell what started, and what is gone: once a leader was killed, only when all that it left is gone as well."""
        if self._strays_possible:
            self._strays_possible = self._kill_strays()
        ended = [] if self._strays_possible else self._ended[:_MOST_NEWS]
        started = self._started[:_MOST_NEWS]
        if started or ended:
            with contextlib.suppress(BlockingIOError):  # the agent is slow: the next round tells it
                self._agent.send(json.dumps([started, ended]).encode())
                del self._started[:_MOST_NEWS]
                del self._ended[: len(ended)]

    def _kill_strays(self) -> bool:
        """Kill children that are no leaders: they came here when their leader died. True if there were any."""
        strays = [pid for pid in proctree.children(os.getpid()) if pid not in self._leaders]
        proctree.kill_trees(strays)
        return bool(strays)

    def _stop_explosions(self) -> None:
        """Kill fork bombs. The agent looks at every attempt now and then; this sees what cannot wait so long, and it is
        cheap, because the number of all processes of the machine tells whether a closer look is needed."""
        before, self._tasks = self._tasks, proctree.tasks()
        if self._tasks - before < self._most_processes // 4:
            return
        table = proctree.parents()
        for pid in self._leaders:
            count = 1 + len(proctree.descendants([pid], table))
            if count > self._most_processes:
                proctree.kill_trees([pid])
                self._faults[pid] = f"Too many processes: {count} at once, and {self._most_processes} are allowed."

    def _kill_everything(self) -> None:
        proctree.kill_trees(self._leaders)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """A handler that only lets waiting calls return."""


def _bound_processes(more: int) -> None:
    """Let this account have so many processes and threads more than the machine has now. The kernel does not hold root
    to this; for others it keeps a fork bomb from growing while we wait for a processor.

    In a container we see our own processes only, while the kernel counts those of this account on the whole machine;
    there `pids.max` is the bound.
    """
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_PID_NAMESPACE:  # noqa: PTH116 - pathlib is not worth its pages
        return
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    wanted = proctree.tasks() + more
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


def main() -> None:
    """Entry point. Arguments: the socket to the agent as a descriptor, the workloads as JSON, how many processes an
    attempt may have, and how many all of them may have together."""
    agent = socket.socket(fileno=int(sys.argv[1]))
    # The agent decides when to end; a stop that a service manager sends to everyone is meant for it. Handlers, and not
    # SIG_IGN, because the programs of attempts would inherit that.
    signal.signal(signal.SIGINT, _do_nothing)
    signal.signal(signal.SIGTERM, _do_nothing)
    # An attempt that is asked to stop before it can hear must not miss it: the signal waits until it has its handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # For all attempts: the kernel's out-of-memory killer is to take them before the agent. The zygote itself is small.
    Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound_processes(int(sys.argv[4]))
    with contextlib.suppress(PermissionError):  # only root may; it lets us stop a fork bomb while that takes all CPUs
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    proctree.become_subreaper()
    os.umask(0o022)
    zygote = Zygote(agent, json.loads(sys.argv[2]), int(sys.argv[3]))
    gc.collect()
    gc.disable()
    gc.freeze()
    zygote.serve()


if __name__ == "__main__":
    main()
