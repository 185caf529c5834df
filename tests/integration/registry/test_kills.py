"""kill -9 of every part at every phase of a migration: it is not yet, or it is done, and in the end it is done.

A proxy in front of the destination stops the migration at the phase that a test wants, until the killing is over.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from orchestrator.domain.ids import decode
from orchestrator.domain.spec import Cloud
from orchestrator.domain.views import CreatePool
from tests.contract.faulty import Exchange, Faults, Verdict, faulty
from tests.contract.servers import free_port, make_bucket
from tests.integration.moves.clouds import Clouds, until
from tests.integration.registry.models import clean, hashes, make

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]
POOL = "behind"


class Store:
    """A store server that keeps what it has on the disk, and can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._env = os.environ | {"STORAGE_BASE": str(folder), "STORAGE_DIR": "blobs"}
        self.origin = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "-q"]
        self._process = subprocess.Popen([*command, "--port", str(self._port)], env=self._env)
        until(self._listens)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class Destination:
    """The store of a pool of its own, and what stops requests on their way to it."""

    def __init__(self, store: Store, faults: Faults, uri: str) -> None:
        self.store = store
        self.uri = uri
        self._faults = faults

    def stop_at(self, moment: str) -> threading.Event:
        """Let the first request of that moment, or its answer, wait; the event tells that it does."""
        reached = threading.Event()
        self._faults.released.clear()
        key = "copy/part-02.bin" if moment == "part" else "copy/manifest.json"

        def hold(exchange: Exchange) -> Verdict | None:
            named = unquote(exchange.path) + exchange.body[:2000].decode(errors="ignore")
            if reached.is_set() or exchange.method not in {"PUT", "POST"} or key not in named:
                return None
            reached.set()
            return Verdict(stall=True)

        if moment == "landed":
            self._faults.before, self._faults.after = lambda _: None, hold
        else:
            self._faults.before, self._faults.after = hold, lambda _: None
        return reached

    def release(self) -> None:
        self._faults.before = self._faults.after = lambda _: None
        self._faults.released.set()


@pytest.fixture(scope="module")
def destination(clouds: Clouds, server_folder: Path) -> Iterator[Destination]:
    folder = server_folder / "store-on-disk"
    folder.mkdir()
    store = Store(folder)
    try:
        with faulty(store.origin) as (proxy, faults):
            uri = make_bucket("gcp", proxy, "behind")
            clouds.client.pools.create(CreatePool(name=POOL, cloud=Cloud.GCP, region="", store=uri))
            yield Destination(store, faults, uri)
    finally:
        store.kill()


def kill_worker(clouds: Clouds, _destination: Destination) -> None:
    (holder,) = clouds.sql(
        "SELECT p.name FROM attempts a JOIN pools p ON p.id = a.pool_id JOIN jobs j ON j.id = a.job_id "
        "WHERE a.state = 'RUNNING' AND j.kind = 'Transfer'"
    )
    clouds.kill_worker(holder.name, signal.SIGKILL)
    clouds.start_workers(holder.name)


def kill_service(kind: str) -> Callable[[Clouds, Destination], None]:
    def kill(clouds: Clouds, _destination: Destination) -> None:
        for child in clouds.stack.status().children:
            if child.name.startswith(kind) and child.running is not None:
                os.kill(child.running.identity.pid, signal.SIGKILL)

    return kill


def kill_store(_clouds: Clouds, destination: Destination) -> None:
    destination.store.kill()
    destination.store.start()


VICTIMS = {
    "worker": kill_worker,
    "scheduler": kill_service("scheduler"),
    "api": kill_service("api"),
    "store": kill_store,
}


@pytest.mark.parametrize("moment", ["part", "manifest", "landed"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_not_yet_or_done(clouds: Clouds, destination: Destination, victim: str, moment: str, tmp_path: Path) -> None:
    until(lambda: clouds.stack.status().ready)
    model = make(clouds, f"{victim}-{moment}")
    reached = destination.stop_at(moment)
    try:
        migration = model.migrate(POOL)
        assert reached.wait(timeout=120)
        copy = "SELECT state FROM replicas WHERE artifact_id = %s AND store = %s"
        where = decode("a", model.view.artifact.id), destination.uri
        assert [row.state for row in clouds.sql(copy, *where)] == ["copying"]
        VICTIMS[victim](clouds, destination)
        assert [row.state for row in clouds.sql(copy, *where)] == ["copying"]
    finally:
        destination.release()
    migration.wait(timeout=120)
    assert [row.state for row in clouds.sql(copy, *where)] == ["verified"]
    ends = "SELECT count(*) AS n FROM events WHERE job_id = %s AND target IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
    assert clouds.sql(ends, decode("j", migration.id))[0].n == 1
    there = hashes(model.download(tmp_path / "there", near=POOL))
    assert there == hashes(model.download(tmp_path / "here", near="aws"))
    clean(clouds)
