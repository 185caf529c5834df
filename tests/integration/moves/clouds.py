"""Three clouds: a whole Neutrino, and for each cloud a store of its protocol and a pool with a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import psycopg
from psycopg.rows import namedtuple_row

from cloud_adapters.artifacts import open_verified, read_manifest
from cloud_adapters.registry import open_store
from orchestrator import Command, Outputs, Placement, Train
from orchestrator.domain.ids import decode
from orchestrator.domain.spec import Cloud, SourceFile
from orchestrator.domain.state import JobState
from orchestrator.domain.views import CreatePool, JobView
from orchestrator.embedded import services
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle
from tests.contract import servers
from tests.integration.moves import chain

Found = TypeVar("Found")
Job = JobHandle[Sync]

CLOUDS = ("aws", "gcp", "azure")
_SERVERS = {"aws": servers.s3_server, "gcp": servers.gcs_server, "azure": servers.azure_server}
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AZURE_STORAGE_KEY": servers.AZURITE_KEY,
    "NEUTRINO_LEASE_SECONDS": "11",  # when it ends, a dead worker does not count as online any more (10 s)
    "NEUTRINO_DRAIN_SECONDS": "20",
    "OMP_NUM_THREADS": "1",
}
PATIENCE = 240.0


def until(look: Callable[[], Found | None], seconds: float = PATIENCE) -> Found:
    """What `look` finds, as soon as that is something; who looks all the time holds up what is to happen."""
    began = time.monotonic()
    while not (found := look()):
        waited = time.monotonic() - began
        assert waited < seconds, "it did not happen in time"
        time.sleep(min(0.02 + waited / 20, 0.1))
    return found


@dataclass
class Clouds:
    """The stack, the address of each cloud's store, and the workers by the name of their cloud."""

    stack: Stack
    client: Client
    stores: dict[str, str]
    folder: Path
    servers: dict[str, ExitStack]
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @cached_property
    def _chain(self) -> tuple[SourceFile, ...]:
        return self.client.files.upload({"chain.py": Path(chain.__file__)})

    def grow(self, name: str, clouds: Sequence[str] = CLOUDS, *, standby: str | None = None, **params: Any) -> Job:
        """A job that runs `chain.grow`."""
        placement = Placement(clouds=[Cloud(cloud) for cloud in clouds], standby=Cloud(standby) if standby else None)
        return self.client.jobs.submit(
            Command(name=name, entrypoint="chain:grow", files=self._chain, params=params, placement=placement)
        )

    def train(self, name: str, clouds: Sequence[str], epochs: int) -> Job:
        """A training of the digits."""
        return self.client.jobs.submit(
            Train(
                name=name,
                workload="image-classifier",
                dataset="builtin://digits",
                params={"epochs": epochs, "batch_size": 256},
                placement=Placement(clouds=[Cloud(cloud) for cloud in clouds]),
                outputs=Outputs(model=name),
            )
        )

    def result(self, job: Job) -> Any:
        """What `chain.grow` has returned: its output as it lies in the store."""
        (artifact,) = [one for one in job.artifacts if one.kind == "output"]
        row = self.sql("SELECT store, prefix FROM replicas WHERE artifact_id = %s", decode("a", artifact.id))[0]
        store = open_store(row.store)
        (file,) = [file for file in read_manifest(store, row.prefix).files if file.path == "result.json"]
        return json.loads(b"".join(open_verified(store, row.prefix, file)))["value"]

    def neutrino(self, *arguments: str) -> str:
        """What the command writes to standard output."""
        address = {"NEUTRINO_API_URL": self.stack.url, "NEUTRINO_TOKEN": self.stack.admin_token}
        command = [sys.executable, "-m", "orchestrator.cli", *arguments]
        return subprocess.run(command, env=os.environ | address, check=True, capture_output=True, text=True).stdout

    def lose_store(self, cloud: str) -> None:
        """End the store of a cloud, with all that it holds."""
        self.servers.pop(cloud).close()

    def start_workers(self, *clouds: str) -> None:
        """Start the workers of these clouds' pools, and wait until they are there."""
        for cloud in clouds:
            self._start_worker(cloud)
        for cloud in clouds:
            until(lambda cloud=cloud: services.has_worker(self.stack.url, self.stack.admin_token, cloud))  # type: ignore[misc]

    def _start_worker(self, cloud: str) -> None:
        settings = {
            "NEUTRINO_API_URL": self.stack.url,
            "NEUTRINO_TOKEN": self.stack._values["NEUTRINO_TOKEN"],
            "NEUTRINO_DATA_DIR": str(self.folder / f"worker-{cloud}"),
            "NEUTRINO_SLOTS": "2",
            "NEUTRINO_POOL": cloud,
            "NEUTRINO_WORKER_NAME": cloud,
            "REDIS_URL": self.stack.redis_url,
        }
        with (self.folder / f"worker-{cloud}.log").open("ab") as log:
            self.workers[cloud] = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers"], env=os.environ | settings, stdout=log, stderr=log
            )

    def kill_worker(self, cloud: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End the worker of a cloud."""
        process = self.workers.pop(cloud)
        process.send_signal(number)
        process.wait(timeout=120)

    def view(self, job: Job) -> JobView:
        """The job with its attempts, as it is now."""
        view = job.refresh().view
        assert isinstance(view, JobView)
        return view

    def ended(self, job: Job) -> JobView:
        """The job, once it has ended, however it did."""
        return until(lambda: view if (view := self.view(job)).state.terminal else None)

    def running_on(self, job: Job, cloud: str) -> JobView:
        """The job, once it runs in the pool of a cloud."""
        return until(lambda: view if self._runs(view := self.view(job), cloud) else None)

    def _runs(self, view: JobView, cloud: str) -> bool:
        return view.state is JobState.RUNNING and view.pool == cloud

    def checkpointed(self, job: Job, times: int = 1) -> None:
        """Return when the job has a committed checkpoint, or so many."""
        statement = "SELECT FROM artifacts WHERE job_id = %s AND kind = 'checkpoint'"
        until(lambda: len(self.sql(statement, decode("j", job.id))) >= times)

    def at_work(self, job: Job, epoch: int) -> None:
        """Return when an attempt of the job has logged a number of its own."""
        statement = """
            SELECT FROM metrics WHERE job_id = %s AND epoch = %s AND NOT starts_with(name, 'sys/') LIMIT 1
        """
        until(lambda: self.sql(statement, decode("j", job.id), epoch))

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Rows straight from the database."""
        url = self.stack.database_url.replace("+psycopg", "", 1)
        rows: Any = namedtuple_row
        with psycopg.connect(url, row_factory=rows) as connection:
            cursor = connection.execute(statement, values)
            return list(cursor) if cursor.description is not None else []


@contextmanager
def three_clouds(
    folder: Path, workers: tuple[str, ...] = CLOUDS, settings: Mapping[str, str] | None = None
) -> Iterator[Clouds]:
    """All of it, up; everything is stopped afterwards."""
    with mock.patch.dict("os.environ", _CREDENTIALS | dict(settings or {})), ExitStack() as stack:
        folder.mkdir(exist_ok=True)
        stores: dict[str, str] = {}
        running = {cloud: stack.enter_context(ExitStack()) for cloud in CLOUDS}
        for cloud in CLOUDS:
            origin = running[cloud].enter_context(_SERVERS[cloud](folder))
            stores[cloud] = servers.make_bucket(cloud, origin, "neutrino")
        up = stack.enter_context(Stack(folder, workers=0, schedulers=1, port=servers.free_port()))
        client = stack.enter_context(Client(up.url, up.admin_token))
        clouds = Clouds(up, client, stores, folder, running)
        stack.callback(_stop, clouds)
        for cloud, store in stores.items():
            client.pools.create(CreatePool(name=cloud, cloud=cloud, region="", store=store))
        clouds.start_workers(*workers)
        yield clouds


def _stop(clouds: Clouds) -> None:
    for process in clouds.workers.values():
        process.terminate()
    for process in clouds.workers.values():
        try:
            process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
