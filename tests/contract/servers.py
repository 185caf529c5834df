"""Real servers that speak the clouds' protocols, started on free ports for the length of a test run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.embedded.demo import azurite

AZURITE_ACCOUNT = azurite.ACCOUNT
AZURITE_KEY = azurite.KEY


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
    deadline = time.monotonic() + 120
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
    with _served([*azurite.command(port)], port, folder / "azure.log") as origin:
        yield f"{origin}/{AZURITE_ACCOUNT}"


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
