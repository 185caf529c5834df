"""Children are started, kept, and ended; real processes, real signals."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.embedded import log_file
from orchestrator.embedded.errors import ServiceFailed
from orchestrator.embedded.keeper import RAPID_DEATHS, backoff
from orchestrator.embedded.process import Child
from orchestrator.embedded.supervisor import Supervisor, statuses

FOREVER = "exec sleep 1000"
_SUPERVISE = Path(__file__).with_name("supervise.py")

Until = Callable[[Callable[[], object]], None]
Shell = Callable[..., Child]
Alive = Callable[[int], bool]
Kill = Callable[[int], None]


def _pid(supervisor: Supervisor, name: str) -> int:
    [status] = [status for status in supervisor.status() if status.name == name]
    return 0 if status.running is None else status.running.identity.pid


def test_start_waits_until_the_child_is_ready(supervisor: Supervisor, shell: Shell, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    supervisor.start(shell("slow", f"sleep 0.2; touch {flag}; {FOREVER}", ready=flag.exists))
    assert flag.exists()


def test_a_child_that_dies_is_started_again(supervisor: Supervisor, shell: Shell, until: Until, kill: Kill) -> None:
    supervisor.start(shell("a", FOREVER))
    first = _pid(supervisor, "a")
    kill(first)
    until(lambda: _pid(supervisor, "a") not in {0, first})
    [status] = supervisor.status()
    assert status.alive
    assert (status.restarts, status.problem) == (1, "was killed by signal 9 (Killed)")


def test_what_runs_before_a_start_runs_before_each(
    supervisor: Supervisor, shell: Shell, until: Until, kill: Kill
) -> None:
    starts: list[int] = []
    supervisor.start(shell("a", FOREVER, before=lambda: starts.append(1)))
    kill(_pid(supervisor, "a"))
    until(lambda: len(starts) == 2)


def test_a_child_that_keeps_dying_is_reported_with_its_last_words(
    supervisor: Supervisor, shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ServiceFailed) as caught:
        supervisor.start(shell("bad", "echo the disk is made of cheese; exit 3", ready=lambda: False))
    assert f"bad did not start: it ended with exit code 3, {RAPID_DEATHS} times in a row." in str(caught.value)
    assert caught.value.log_tail == ["the disk is made of cheese"] * RAPID_DEATHS
    assert "bad keeps dying: it ended with exit code 3, 5 times in a row. The end of " in caplog.text
    levels = [record.levelname for record in caplog.records]
    assert levels[:RAPID_DEATHS] == ["WARNING"] * (RAPID_DEATHS - 1) + ["ERROR"]


def test_a_child_that_is_never_ready_is_reported(supervisor: Supervisor, shell: Shell) -> None:
    with pytest.raises(ServiceFailed, match=r"mute did not start: it was not ready within 0.2 s. It wrote nothing"):
        supervisor.start(shell("mute", FOREVER, ready=lambda: False, ready_within_s=0.2))


def test_a_program_that_does_not_exist_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="no-such-program"):
        supervisor.start(Child("gone", ["/no-such-program"], {}, tmp_path, ready=lambda: False))


def test_delays_double_and_are_bounded() -> None:
    assert [backoff(deaths, 0.0) for deaths in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert backoff(60, 0.0) == 30.0
    assert backoff(1, 1.0) == 0.05


def test_tiers_are_stopped_in_reverse(shell: Shell, tmp_path: Path) -> None:
    script = 'trap "echo {0} >> order; exit 0" TERM; touch {0}.ready; sleep 1000 & wait'
    with Supervisor(tmp_path) as supervisor:
        for name in ("database", "api", "worker"):
            supervisor.start(shell(name, script.format(name), ready=(tmp_path / f"{name}.ready").exists))
    assert (tmp_path / "order").read_text().split() == ["worker", "api", "database"]
    assert list((tmp_path / "run").iterdir()) == []


def test_a_child_that_ignores_sigterm_is_killed(shell: Shell, tmp_path: Path, alive: Alive) -> None:
    with Supervisor(tmp_path) as supervisor:
        ready = (tmp_path / "ready").exists
        supervisor.start(shell("deaf", "trap '' TERM; touch ready; sleep 1000", ready=ready, grace_s=0.1))
        pid = _pid(supervisor, "deaf")
    assert not alive(pid)


def test_grandchildren_in_sessions_of_their_own_end_too(
    shell: Shell, tmp_path: Path, alive: Alive, until: Until
) -> None:
    note = tmp_path / "grandchild"
    script = f"setsid sh -c 'echo $$ > {note}.new; mv {note}.new {note}; exec sleep 1000' & {FOREVER}"
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(shell("parent", script, ready=note.exists))
        grandchild = int(note.read_text())
        assert alive(grandchild)
    until(lambda: not alive(grandchild))


def test_a_frozen_child_is_stopped(shell: Shell, tmp_path: Path, alive: Alive) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(shell("frozen", FOREVER, grace_s=0.1))
        pid = _pid(supervisor, "frozen")
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


def test_a_guard_that_was_killed_is_replaced(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, alive: Alive, kill: Kill
) -> None:
    guard = supervisor._guard
    first = guard._popen.pid
    kill(first)
    guard._popen.wait()
    guard.ensure()
    assert guard._popen.pid != first
    assert alive(guard._popen.pid)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A supervisor in a process of its own, with the pids of its children and its guard."""
    process = subprocess.Popen(
        [sys.executable, str(_SUPERVISE), str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    with process:
        yield process, json.loads(process.stdout.readline())
        process.kill()


def test_children_end_when_their_supervisor_is_killed(
    other: tuple[subprocess.Popen[str], dict[str, int]], alive: Alive, until: Until, tmp_path: Path
) -> None:
    process, pids = other
    assert all(map(alive, pids.values()))
    process.kill()
    until(lambda: not any(map(alive, pids.values())))
    # In good order, too: the guard gave them their signal and their time.
    assert (tmp_path / "order").read_text().split() == ["second", "first"]


def test_children_end_with_the_next_supervisor_when_the_guard_was_killed_too(
    other: tuple[subprocess.Popen[str], dict[str, int]], alive: Alive, until: Until, tmp_path: Path, kill: Kill
) -> None:
    process, pids = other
    kill(pids.pop("guard"))
    process.kill()
    process.wait()
    assert all(map(alive, pids.values()))
    with Supervisor(tmp_path):
        assert not any(map(alive, pids.values()))


def test_a_recycled_pid_is_left_alone(tmp_path: Path, alive: Alive) -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    run = tmp_path / "run" / "1"
    run.mkdir(parents=True)
    identity = {"pid": bystander.pid, "created": 1_000_000.0}
    running = {"identity": identity, "stop_signal": 15, "grace_s": 1.0}
    record = {"name": "old", "tier": 0, "restarts": 0, "problem": None, "running": running}
    (run / "old.json").write_text(json.dumps(record))
    [status] = statuses(run)
    assert not status.alive
    with Supervisor(tmp_path):
        assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_log_that_grows_too_large_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log_file.open_for(log) as file:
        file.write(b"old\n" * 100)
        log_file.rotate(log, limit=400)
        assert log.stat().st_size == 400
        log_file.rotate(log, limit=399)
        file.write(b"new\n")
    assert log.read_text() == "new\n"
    assert log.with_name("a.log.1").stat().st_size == 400
    assert log_file.tail(log, since=400) == ["new"]


def test_the_tail_of_a_log_begins_where_asked(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert log_file.tail(log) == []
    log.write_text("yesterday\ntoday 1\ntoday 2\n")
    assert log_file.tail(log, since=10) == ["today 1", "today 2"]
    assert log_file.tail(log, lines=1) == ["today 2"]
