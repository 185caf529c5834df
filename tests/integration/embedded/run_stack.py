"""A whole stack in a process of its own, for a test to end in its own way. Prints the URL when it is up."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.embedded.stack import Stack


def ready(stack: Stack) -> None:
    """Tell the test."""
    print(stack.url, flush=True)  # noqa: T201


Stack(Path(sys.argv[1]), schedulers=1).run(ready)
