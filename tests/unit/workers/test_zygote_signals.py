"""A signal for an attempt that was forked a moment ago, in a process of its own, because a zygote sets handlers."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import json, os, signal, socket, sys
from workers.zygote import Zygote

agent, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
zygote = Zygote(theirs, {}, 64)
go, ready = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    os.read(go[0], 1)
    os.setsid()
    os.write(ready[1], b"r")
    signal.pause()
zygote._leaders[pid] = "j-10000.1"
agent.send(json.dumps(["signal", "j-10000.1", signal.SIGTERM]).encode())
assert zygote._obey()
os.write(go[1], b"g")
os.read(ready[0], 1)
zygote._signal_again()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert not zygote._unsent
"""


def test_a_signal_waits_until_the_attempt_leads_its_group() -> None:
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True, timeout=30)
