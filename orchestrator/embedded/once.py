"""Programs that do one thing and end."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.embedded.errors import ServiceFailed

_TIMEOUT_S = 300.0
_QUOTED_LINES = 20


def run(what: str, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, text: str = "") -> str:
    """Run a program with `text` as its input; returns its output.

    Raises:
        ServiceFailed: it failed, or took longer than five minutes; `what` begins the message, its last lines end it.
    """
    try:
        done = subprocess.run(
            argv, input=text, env=env, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ServiceFailed(f"{what} did not end within {_TIMEOUT_S:g} s.", hint="Is the machine overloaded?") from None
    if done.returncode == 0:
        return done.stdout
    tail = [*done.stdout.splitlines(), *done.stderr.splitlines()][-_QUOTED_LINES:]
    said = tail[-1:] if any(line.startswith("Traceback ") for line in tail) else tail
    quoted = "\n  ".join(["It said:", *said]) if said else "It said nothing."
    raise ServiceFailed(f"{what} failed with exit code {done.returncode}.", hint=quoted, log_tail=tail)
