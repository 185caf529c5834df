"""Three clouds on this machine: a whole Neutrino, and for each cloud a store of its protocol and a pool with workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import namedtuple_row

from orchestrator.domain.ids import decode
from orchestrator.domain.views import CreatePool, JobView
from orchestrator.embedded import services
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.jobs import JobHandle
from tests.contract import servers

Found = TypeVar("Found")
Job = JobHandle[Sync]

CLOUDS = ("aws", "gcp", "azure")
_SERVERS = {"aws": servers.s3_server, "gcp": servers.gcs_server, "azure": servers.azure_server}
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AZURE_STORAGE_KEY": servers.AZURITE_KEY,
    "NEUTRINO_LEASE_SECONDS": "3",
    "NEUTRINO_DRAIN_SECONDS": "20",
    "OMP_NUM_THREADS": "1",
}
PATIENCE = 60.0


def until(look: Callable[[], Found], seconds: float = PATIENCE) -> Found:
    """What `look` finds, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


@dataclass
class Clouds:
    """The stack, the address of each cloud's store, and the workers by the name of their cloud."""

    stack: Stack
    client: Client
    stores: dict[str, str]
    folder: Path
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_worker(self, cloud: str) -> None:
        """Start the worker of a cloud's pool, and wait until it is there."""
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
        until(lambda: services.has_worker(self.stack.url, self.stack.admin_token, cloud))

    def kill_worker(self, cloud: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End the worker of a cloud."""
        process = self.workers.pop(cloud)
        process.send_signal(number)
        process.wait(30)

    def view(self, job: Job) -> JobView:
        """The job with its attempts, as it is now."""
        view = job.refresh().view
        assert isinstance(view, JobView)
        return view

    def ended(self, job: Job) -> JobView:
        """The job, once it has ended, however it did."""
        return until(lambda: (view := self.view(job)).state.terminal and view)

    def running_on(self, job: Job, cloud: str) -> JobView:
        """The job, once it runs in the pool of a cloud."""
        return until(lambda: (view := self.view(job)).state == "RUNNING" and view.pool == cloud and view)

    def checkpointed(self, job: Job, more_than: int = 0) -> int:
        """The number of checkpoints that the job has ever committed, once it is more than so many."""
        statement = "SELECT count(*) AS n FROM artifacts WHERE job_id = %s AND kind = 'checkpoint'"
        return until(lambda: (n := self.sql(statement, decode("j", job.id))[0].n) > more_than and n)

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Rows straight from the database."""
        url = self.stack.database_url.replace("+psycopg", "", 1)
        rows: Any = namedtuple_row
        with psycopg.connect(url, row_factory=rows) as connection:
            cursor = connection.execute(statement, values)
            return list(cursor) if cursor.description is not None else []


@contextmanager
def three_clouds(folder: Path, workers: tuple[str, ...] = CLOUDS) -> Iterator[Clouds]:
    """All of it, up; everything is stopped afterwards."""
    before = dict(os.environ)
    os.environ.update(_CREDENTIALS)
    try:
        with ExitStack() as stack:
            folder.mkdir(exist_ok=True)
            stores = {}
            for cloud in CLOUDS:
                origin = stack.enter_context(_SERVERS[cloud](folder))
                stores[cloud] = servers.make_bucket(cloud, origin, "neutrino")
            up = stack.enter_context(Stack(folder / "stack", workers=0, schedulers=1))
            client = stack.enter_context(Client(up.url, up.admin_token))
            clouds = Clouds(up, client, stores, folder)
            stack.callback(_stop, clouds)
            for cloud, store in stores.items():
                client.pools.create(CreatePool(name=cloud, cloud=cloud, region="", store=store))
            for cloud in workers:
                clouds.start_worker(cloud)
            yield clouds
    finally:
        for name in _CREDENTIALS.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _stop(clouds: Clouds) -> None:
    for process in clouds.workers.values():
        process.terminate()
    for process in clouds.workers.values():
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
