"""What the zygote holds in memory makes every fork dearer."""

from __future__ import annotations

import subprocess
import sys

# threading makes every fork run Python code in the child; the others are simply large.
_TOO_DEAR = {"threading", "asyncio", "logging", "inspect", "dataclasses", "pydantic", "http", "ssl", "psutil", "torch"}


def test_the_zygote_imports_little() -> None:
    code = "import workers.zygote, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not _TOO_DEAR & {name.partition(".")[0] for name in loaded}
