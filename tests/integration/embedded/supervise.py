"""A supervisor with two children, to be killed by a test. Prints the pids of all three as JSON, then waits."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from orchestrator.embedded.process import Child
from orchestrator.embedded.supervisor import Supervisor

home = Path(sys.argv[1])
script = 'trap "echo {0} >> order; exit 0" TERM; touch {0}.ready; sleep 1000 & wait'
supervisor = Supervisor(home)
for name in ("first", "second"):
    argv = ["/bin/sh", "-c", script.format(name)]
    supervisor.start(Child(name, argv, {"PATH": "/usr/bin:/bin"}, home, ready=(home / f"{name}.ready").exists))
pids = {status.name: status.running.identity.pid for status in supervisor.status() if status.running}
print(json.dumps(pids | {"guard": supervisor._guard._popen.pid}), flush=True)  # noqa: T201
signal.pause()
