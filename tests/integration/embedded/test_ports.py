"""Choosing ports on a machine where others choose, too."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from orchestrator.embedded import ports

_CHOOSE = """
import sys
from pathlib import Path
from orchestrator.embedded import ports
print(ports.choose(Path(sys.argv[1]), usual=[int(sys.argv[2])]), flush=True)
sys.stdin.read()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_port_that_another_process_chose_is_not_chosen_before_anybody_listens(tmp_path: Path) -> None:
    usual = _free_port()
    command = [sys.executable, "-c", _CHOOSE, str(tmp_path / "theirs"), str(usual)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == usual
        assert ports.choose(tmp_path / "ours", usual=[usual]) != usual
        other.communicate()
    (tmp_path / "ours").unlink()
    assert ports.choose(tmp_path / "ours", usual=[usual]) == usual, "it ended without having used it"
    assert ports.choose(tmp_path / "ours", usual=[usual]) == usual, "it is ours already"
