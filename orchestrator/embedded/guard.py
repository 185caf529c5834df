"""`python -m orchestrator.embedded.guard <records>` outlives a supervisor, to stop the children it left.

The supervisor holds the other end of this process's standard input. However it ends, and be it by SIGKILL,
the kernel closes that end.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.embedded.supervisor import stop_recorded

if __name__ == "__main__":
    sys.stdin.buffer.read()
    stop_recorded(Path(sys.argv[1]))
