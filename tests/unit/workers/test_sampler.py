"""What an attempt uses is measured over all of its processes."""

from __future__ import annotations

import subprocess
import sys

from workers import proctree
from workers.sampler import EVERY_SECONDS, Sampler
from workers.zygote import clock

# A shell-like parent that does nothing, and a child that keeps a core and 64 MiB busy.
BUSY = """
import subprocess, sys
code = "block = bytearray(b'x' * 64 * 1024**2)\\nprint(flush=True)\\nwhile True: pass"
subprocess.run([sys.executable, "-c", code])
"""


def test_processor_and_memory_of_the_whole_tree() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        began = clock()
        sampler = Sampler(process.pid, (), began)
        assert not sampler.due(began)
        assert sampler.due(began + EVERY_SECONDS)
        deadline = began + 30
        while proctree.cpu_seconds(max(proctree.descendants([process.pid]))) < 0.2 and clock() < deadline:
            pass
        points = {point.name: point for point in sampler.sample(proctree.parents(), clock())}
        proctree.kill_trees([process.pid])
    assert points.keys() == {"sys/cpu", "sys/memory"}
    assert points["sys/cpu"].value is not None
    assert points["sys/memory"].value is not None
    assert points["sys/cpu"].value > 0
    assert points["sys/memory"].value > 64 * 1024**2


def test_a_process_that_is_gone_uses_nothing() -> None:
    began = clock()
    points = Sampler(2**22 - 1, (), began).sample({}, began + 1)
    assert [point.value for point in points] == [0.0, 0.0]
