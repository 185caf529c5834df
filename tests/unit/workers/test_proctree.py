"""Looking at processes and killing whole trees of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from workers import proctree


def test_descendants_of_a_table() -> None:
    table = {1: 0, 2: 1, 3: 2, 4: 2, 9: 8}
    assert sorted(proctree.descendants([2], table)) == [3, 4]
    assert sorted(proctree.descendants([1, 8], table)) == [2, 3, 4, 9]
    assert proctree.descendants([7], table) == []


def test_a_process_knows_its_parent_even_with_a_strange_name() -> None:
    code = "import time; open('/proc/self/comm', 'w').write('a) R 1 (b'); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert proctree.parents()[process.pid] == os.getpid()
        process.kill()


def test_a_tree_is_killed_with_those_in_other_sessions() -> None:
    script = "setsid sleep 60 & sleep 60 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        below = proctree.descendants([process.pid])
        assert len(below) == 2
        proctree.kill_trees([process.pid])
        assert process.wait() == -signal.SIGKILL
        end = time.monotonic() + 10
        while any(_runs(pid) for pid in below):
            assert time.monotonic() < end


def _runs(pid: int) -> bool:
    """Killed and perhaps not yet reaped by init counts as gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - it vanishes under our hands
            return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_memory_of_this_process() -> None:
    pid = os.getpid()
    assert 0 < proctree.proportional_bytes(pid) <= proctree.resident_bytes(pid) * 1.1
    assert proctree.resident_bytes(2**22 + 1) == 0


def test_the_environment_a_process_was_started_with() -> None:
    command = [sys.executable, "-Ic", "print(flush=True); input()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env={"MARK": "a=b"}, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert proctree.environment(process.pid)["MARK"] == "a=b"
        process.kill()
