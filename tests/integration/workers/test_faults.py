"""What happens when something is killed, stopped, cut off or cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cloud_adapters.artifacts import publish
from cloud_adapters.registry import open_store
from orchestrator.domain.spec import Command, Resources
from orchestrator.domain.state import Reason
from orchestrator.domain.transfer import Order, Place, Transfer
from tests.integration.workers.conftest import Workers
from tests.integration.workers.control_plane import ControlPlane
from workers import proctree

pytestmark = pytest.mark.fault

_SHORT_LEASE = 5.0  # a slow machine must not lose it by itself
_SLEEP = Command(name="s", command=("sh", "-c", "echo ready; exec sleep 1000"))
_STUBBORN = Command(name="s", command=("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"))
# Two levels of escape: a session of its own, and a parent that is gone.
_ESCAPEE = Command(
    name="e", command=("sh", "-c", "setsid sh -c 'sleep 1000 & exec sleep 1001' & echo ready; sleep 1000")
)


def _ready(plane: ControlPlane, attempt: str) -> None:
    plane.wait(lambda: attempt in plane.attempts and "ready" in plane.attempts[attempt].text())


def _eventually(condition: object, timeout: float = 120.0) -> None:
    assert callable(condition)
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def _zygote(worker: subprocess.Popen[bytes]) -> int:
    [zygote] = [
        pid for pid in proctree.children(worker.pid) if b"workers.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return zygote


def _copying(worker: subprocess.Popen[bytes]) -> bool:
    """True while a process of the worker's copies."""
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in proctree.children(worker.pid)]
    return any(b"workers.workloads.transfer" in line for line in lines)


@pytest.mark.parametrize("spec", [_SLEEP, _STUBBORN, _ESCAPEE])
def test_a_killed_worker_leaves_nothing_running_and_its_successor_waits_for_that(
    plane: ControlPlane, workers: Workers, spec: Command
) -> None:
    attempt = plane.submit(spec)
    worker = workers.start()
    _ready(plane, attempt)
    assert len(workers.leftovers()) >= 1
    worker.kill()
    worker.wait()
    workers.start()
    plane.wait(lambda: len(plane.registrations) == 2)
    assert workers.leftovers() == []


def test_a_worker_killed_together_with_its_zygote_leaves_nothing_to_its_successor(
    plane: ControlPlane, workers: Workers
) -> None:
    attempt = plane.submit(_ESCAPEE)
    worker = workers.start()
    _ready(plane, attempt)
    zygote = _zygote(worker)
    os.kill(zygote, signal.SIGSTOP)  # so that it cannot clean up either
    worker.kill()
    os.kill(zygote, signal.SIGKILL)
    worker.wait()
    workers.start()
    plane.wait(lambda: len(plane.registrations) == 2)
    assert workers.leftovers() == []


def test_a_dead_zygote_is_replaced_and_its_attempts_are_infrastructure_failures(
    plane: ControlPlane, workers: Workers
) -> None:
    attempt = plane.submit(_ESCAPEE)
    worker = workers.start()
    _ready(plane, attempt)
    os.kill(_zygote(worker), signal.SIGKILL)
    assert plane.report_of(attempt).reason is Reason.INFRA_ERROR
    assert workers.leftovers() == []
    following = plane.submit(Command(name="n", command=("true",)))
    assert plane.report_of(following).reason is Reason.SUCCEEDED


@pytest.mark.parametrize(("name", "reason"), [("TERM", Reason.KILLED), ("SEGV", Reason.USER_ERROR)])
def test_a_child_that_dies_of_a_signal_is_named_with_it(
    plane: ControlPlane, workers: Workers, name: str, reason: Reason
) -> None:
    attempt = plane.submit(Command(name="k", command=("sh", "-c", f"kill -{name} $$")))
    workers.start()
    report = plane.report_of(attempt)
    assert report.reason is reason
    assert f"SIG{name}" in report.message


def test_killing_the_leader_of_an_attempt_ends_all_of_it(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(Command(name="k", command=("sh", "-c", "setsid sleep 1000 & kill -KILL $PPID; sleep 1000")))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.KILLED
    assert workers.leftovers() == []


@pytest.mark.parametrize("spec", [_SLEEP, _STUBBORN, _ESCAPEE])
def test_cancelled_is_reported_when_everything_is_gone(plane: ControlPlane, workers: Workers, spec: Command) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(spec)
    workers.start(NEUTRINO_GRACE_SECONDS="0.5")
    _ready(plane, attempt)
    with plane.changed:
        plane.attempts[attempt].cancel = True
    assert plane.report_of(attempt).reason is Reason.CANCELLED_BY_USER
    assert workers.leftovers() == []


def test_a_timeout(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(_SLEEP, timeout=0.5)
    workers.start()
    report = plane.report_of(attempt)
    assert report.reason is Reason.TIMEOUT
    assert "0.5 s" in report.message


def test_a_lost_lease_kills_at_once_and_is_not_reported(plane: ControlPlane, workers: Workers) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(_STUBBORN)
    workers.start()
    _ready(plane, attempt)
    with plane.changed:
        plane.attempts[attempt].lost = True
    _eventually(lambda: not workers.leftovers())
    following = plane.submit(Command(name="n", command=("true",)))
    plane.report_of(following)
    assert plane.attempts[attempt].report is None


def test_without_an_answer_a_worker_gives_its_leases_up(plane: ControlPlane, workers: Workers) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(_STUBBORN)
    workers.start()
    _ready(plane, attempt)
    with plane.changed:
        plane.down = True
    _eventually(lambda: not workers.leftovers())
    with plane.changed:
        plane.down = False
        plane.attempts[attempt].lost = True  # as the reconciler does when the lease has ended
    following = plane.submit(Command(name="n", command=("true",)))
    assert plane.report_of(following).reason is Reason.SUCCEEDED
    assert plane.attempts[attempt].report is None


def test_a_stopped_worker_cannot_outlive_its_lease_and_its_zombie_has_no_effect(
    plane: ControlPlane, workers: Workers
) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(_ESCAPEE)
    worker = workers.start()
    _ready(plane, attempt)
    worker.send_signal(signal.SIGSTOP)
    _eventually(lambda: not workers.leftovers())  # the zygote saw to it
    with plane.changed:
        plane.attempts[attempt].lost = True
        lines = len(plane.attempts[attempt].lines)
    worker.send_signal(signal.SIGCONT)
    following = plane.submit(Command(name="n", command=("true",)))
    assert plane.report_of(following).reason is Reason.SUCCEEDED
    assert plane.attempts[attempt].report is None
    assert len(plane.attempts[attempt].lines) == lines


def test_a_stopped_worker_copies_nothing_once_its_lease_may_be_over(
    plane: ControlPlane, workers: Workers, tmp_path: Path
) -> None:
    """Another worker may have begun to write the same copy by then."""
    plane.lease_seconds = _SHORT_LEASE
    source, target = (Place(store=f"file://{tmp_path}/{name}", prefix="artifacts/1/a") for name in ("here", "there"))
    (tmp_path / "artifact").mkdir()
    for name in "abc":
        (tmp_path / "artifact" / name).write_bytes(name.encode() * 100_000)
    made = publish(open_store(source.store), source.prefix, tmp_path / "artifact")
    order = Order(
        action="copy", digest=made.digest, size=300_000, files=3, target=target, sources=(source,), limit=1024
    )
    spec = Transfer(name="t", artifact="a-1", source=source.store, destination=target.store)
    attempt = plane.submit(spec, order=order)
    worker = workers.start()
    begun = plane.heartbeats
    plane.wait(lambda: attempt in plane.attempts and plane.attempts[attempt].progress is not None)
    plane.wait(lambda: plane.heartbeats > begun + 8)  # longer than one lease
    assert _copying(worker)
    worker.send_signal(signal.SIGSTOP)
    _eventually(lambda: not _copying(worker))


def test_a_source_that_is_damaged_stands_in_the_report(plane: ControlPlane, workers: Workers, tmp_path: Path) -> None:
    bad, good, target = (Place(store=f"file://{tmp_path}/{name}", prefix="artifacts/1/a") for name in ("1", "2", "3"))
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "a").write_bytes(b"right")
    for source in (bad, good):
        made = publish(open_store(source.store), source.prefix, tmp_path / "artifact")
    (tmp_path / "1" / bad.prefix / "a").write_bytes(b"wrong")
    order = Order(action="copy", digest=made.digest, size=5, files=1, target=target, sources=(bad, good))
    attempt = plane.submit(Transfer(name="t", artifact="a-1", source=bad.store, destination=target.store), order=order)
    workers.start()
    report = plane.report_of(attempt)
    assert (report.reason, report.damaged) == (Reason.SUCCEEDED, (bad.store,))


def test_a_fork_bomb_is_bounded_and_caught_whole(plane: ControlPlane, workers: Workers) -> None:
    bomb = Command(name="b", command=("sh", "-c", "b() { b | b & }; b; sleep 1000"))
    attempt = plane.submit(bomb)
    workers.start(NEUTRINO_MAX_PROCESSES="64")
    report = plane.report_of(attempt)
    assert report.reason is Reason.USER_ERROR
    assert "Too many processes" in report.message
    assert workers.leftovers() == []


def test_draining_lets_a_job_save_itself_and_reports_it_as_preempted(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(
        Command(
            name="d", command=("sh", "-c", "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
        )
    )
    worker = workers.start()
    _ready(plane, attempt)
    worker.terminate()
    assert worker.wait(timeout=120) == 0
    assert plane.report_of(attempt).reason is Reason.PREEMPTED
    assert plane.attempts[attempt].text() == ["ready", "saved"]


def test_a_second_request_to_go_hurries(plane: ControlPlane, workers: Workers) -> None:
    attempt = plane.submit(_STUBBORN)
    worker = workers.start(NEUTRINO_DRAIN_SECONDS="1000")
    _ready(plane, attempt)
    worker.terminate()
    plane.wait(lambda: plane.draining_seen)
    worker.terminate()
    assert worker.wait(timeout=120) == 0
    assert plane.report_of(attempt).reason is Reason.PREEMPTED


def test_an_answer_that_never_arrives_loses_no_attempt(plane: ControlPlane, workers: Workers) -> None:
    plane.lease_seconds = _SHORT_LEASE
    with plane.changed:
        plane.swallow.add("report")
    attempt = plane.submit(Command(name="n", command=("true",)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.CLAIM_LOST


def test_a_report_is_sent_again_until_it_arrives(plane: ControlPlane, workers: Workers, tmp_path: Path) -> None:
    waits = f"echo ready; until [ -e {tmp_path}/gate ]; do sleep 0.02; done"
    attempt = plane.submit(Command(name="n", command=("sh", "-c", waits)))
    workers.start()
    _ready(plane, attempt)
    with plane.changed:
        plane.down = True
    (tmp_path / "gate").touch()
    plane.wait(lambda: plane.requests.get("report", 0) >= 4)
    with plane.changed:
        plane.down = False
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED


def test_a_worker_that_is_not_known_any_more_registers_anew(plane: ControlPlane, workers: Workers) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(_STUBBORN)
    workers.start()
    _ready(plane, attempt)
    with plane.changed:
        plane.forgotten = True
    plane.wait(lambda: len(plane.registrations) == 2)
    assert workers.leftovers() == []
    following = plane.submit(Command(name="n", command=("true",)))
    assert plane.report_of(following).reason is Reason.SUCCEEDED


def test_memory_of_forked_processes_is_counted_once(plane: ControlPlane, workers: Workers) -> None:
    code = (
        "import os, time; hog = b'x' * (80 << 20)\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: time.sleep(2); os._exit(0)\n"
        "time.sleep(2)"
    )
    attempt = plane.submit(Command(name="m", command=("python", "-c", code), resources=Resources(memory=200 << 20)))
    workers.start()
    assert plane.report_of(attempt).reason is Reason.SUCCEEDED


def test_a_worker_that_never_reached_the_api_goes_when_asked(plane: ControlPlane, workers: Workers) -> None:
    plane.down = True
    worker = workers.start()
    plane.wait(lambda: plane.requests.get("register"))
    worker.terminate()
    assert worker.wait(timeout=120) == 0


def test_a_drain_without_an_api_ends_with_the_lease(plane: ControlPlane, workers: Workers) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(_SLEEP)
    worker = workers.start()
    _ready(plane, attempt)
    with plane.changed:
        plane.down = True
    worker.terminate()
    assert worker.wait(timeout=120) == 0
    assert workers.leftovers() == []


def test_a_refused_token_ends_the_worker_with_the_reason(workers: Workers) -> None:
    worker = workers.start(NEUTRINO_TOKEN="wrong")
    assert worker.wait(timeout=120) == 4


def test_what_was_given_up_is_not_called_unexecuted(plane: ControlPlane, workers: Workers) -> None:
    plane.lease_seconds = _SHORT_LEASE
    attempt = plane.submit(_STUBBORN)
    workers.start()
    _ready(plane, attempt)
    with plane.changed:
        plane.down = True
    _eventually(lambda: not workers.leftovers())
    with plane.changed:
        plane.down = False  # and the lease happens to be alive still
    assert plane.report_of(attempt).reason is Reason.INFRA_ERROR
