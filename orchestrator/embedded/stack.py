"""The whole system on one machine: Postgres, Redis, the API, schedulers and workers, started and stopped together."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.embedded import credentials, external, folder, ports, remote, services
from orchestrator.embedded.credentials import Credentials
from orchestrator.embedded.lock import FolderLock
from orchestrator.embedded.postgres import Postgres
from orchestrator.embedded.process import Child, at_once
from orchestrator.embedded.redis import Redis
from orchestrator.embedded.remote import StackStatus
from orchestrator.embedded.server import Server
from orchestrator.embedded.services import API, BOOTSTRAP, MIGRATIONS, SCHEDULER, WORKER, Service
from orchestrator.embedded.supervisor import Supervisor

USUAL_PORT = 8470
POOL = "local"

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def default_data_dir() -> Path:
    """Where the data goes unless told otherwise: `neutrino` in $XDG_DATA_HOME or ~/.local/share."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "neutrino"


class Stack:
    """Neutrino on one machine, with all its data in one folder.

    Use it as a context manager, with `up` and `down`, or with `run` for a foreground process. An embedded Postgres and
    Redis are started unless DATABASE_URL and REDIS_URL name others.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int = 1,
        schedulers: int = 2,
        slots: int | None = None,
        bind: str = "127.0.0.1",
        port: int | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._workers = workers
        self._schedulers = schedulers
        self._slots = slots
        self._bind = bind
        self._wanted_port = port
        self._lock = FolderLock(self.data_dir)
        self._supervisor: Supervisor | None = None
        self._servers: list[Server] = []
        self._values: dict[str, str] = {}
        self._credentials: Credentials | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()

    @property
    def url(self) -> str:
        """The API's address, for clients on this machine. Known after `up`."""
        return self._values["NEUTRINO_API_URL"]

    @property
    def admin_token(self) -> str:
        """The token of the first administrator. Known after `up`."""
        assert self._credentials is not None, "there is no token before the stack is up"
        return self._credentials.admin_token

    @property
    def database_url(self) -> str:
        """The database in use. Known after `up`."""
        return self._values["DATABASE_URL"]

    @property
    def redis_url(self) -> str:
        """The broker in use. Known after `up`."""
        return self._values["REDIS_URL"]

    def up(self) -> None:
        """Start everything and block until the API answers and every worker has registered.

        Whatever was started is stopped again when something fails.

        Raises:
            AlreadyRunning: another process runs a stack on this folder.
            DataFolderError: the folder cannot be written.
            PortBusy: the port that was asked for is taken.
            InvalidSpec: DATABASE_URL or REDIS_URL is no such address.
            ServerUnavailable: the server that one of them names cannot be used.
            ServiceFailed: a part did not start; its last words are in the hint.
        """
        folder.make(self.data_dir, folder.passable())
        self._lock.acquire()
        try:
            self._supervisor = Supervisor(self.data_dir)
            self._start(self._supervisor)
            self._lock.note(self.url)
        except BaseException:
            self._close()
            raise

    def down(self) -> None:
        """Stop everything, also when another process started it, and whatever a killed one left behind."""
        if self._lock.held:
            self._close()
        else:
            remote.stop(self.data_dir)

    def _close(self) -> None:
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None
        while self._servers:
            self._servers.pop().release()
        self._lock.release()

    def run(self, on_ready: Callable[[Stack], None]) -> None:
        """Be up until SIGINT, SIGTERM or SIGHUP, then down. `on_ready` is called when all is up.

        Call it from the main thread. A signal before all is up raises KeyboardInterrupt, once everything that was
        started has been stopped again. A second signal ends this process at once; the guard stops the rest.
        """
        # What is ignored stays ignored: `nohup` means it.
        caught = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
        before = {number: signal.signal(number, signal.default_int_handler) for number in caught}
        try:
            with self, contextlib.suppress(KeyboardInterrupt):
                on_ready(self)
                threading.Event().wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def status(self) -> StackStatus:
        """What runs on the folder, whoever started it."""
        return remote.status(self.data_dir)

    def _start(self, supervisor: Supervisor) -> None:
        self._values = self._addresses()
        self._serve(supervisor, "DATABASE_URL", Postgres(self.data_dir / "postgres"))
        self._serve(supervisor, "REDIS_URL", Redis(self.data_dir / "redis"))
        services.run(MIGRATIONS, "migrations", self._values, self.data_dir)
        self._credentials = credentials.ensure(self._credentials_file, self._bootstrap)
        supervisor.start(self._child(API, "api", ready=lambda: services.answers(self.url)))
        if not services.accepts(self.url, self.admin_token):  # the file belongs to another database
            self._credentials = credentials.rotate(self._credentials_file, self._bootstrap)
        self._values["NEUTRINO_TOKEN"] = self._credentials.worker_token
        schedulers = [self._child(SCHEDULER, f"scheduler-{number + 1}") for number in range(self._schedulers)]
        supervisor.start(*schedulers)
        numbers = range(1, self._workers + 1)
        supervisor.start(*(self._worker(f"worker-{number}", f"{POOL}-{number}") for number in numbers))

    def _addresses(self) -> dict[str, str]:
        port = ports.choose(self.data_dir / "port", self._wanted_port, host=self._bind, usual=(USUAL_PORT,))
        reach = _ANY_HOST.get(self._bind, self._bind)
        store = folder.make(self.data_dir / "store")
        # Users may name stores of their own; those on this machine must lie here, or where whoever starts us says.
        roots = filter(None, (str(store), os.environ.get("NEUTRINO_FILE_ROOTS")))
        values = {
            "NEUTRINO_BIND": f"{self._bind}:{port}",
            "NEUTRINO_API_URL": f"http://[{reach}]:{port}" if ":" in reach else f"http://{reach}:{port}",
            "NEUTRINO_STORE": store.as_uri(),
            "NEUTRINO_FILE_ROOTS": os.pathsep.join(roots),
            "NEUTRINO_POOL": POOL,
        }
        return values if self._slots is None else values | {"NEUTRINO_SLOTS": str(self._slots)}

    def _serve(self, supervisor: Supervisor, variable: str, server: Server) -> None:
        given = os.environ.get(variable)
        if given:
            external.require(variable, given)
            self._values[variable] = given
            return
        prepared = server.prepare()
        self._servers.append(server)
        supervisor.start(prepared)
        self._values[variable] = server.url

    def start_workers(self, *pools: str) -> None:
        """Start a worker in each of these pools, which there are already; they are kept running like all others.

        Raises:
            ServiceFailed: one did not start; its last words are in the hint.
        """
        self.run_beside(*(self._worker(f"worker-{pool}", f"{pool}-1", {"NEUTRINO_POOL": pool}) for pool in pools))

    def run_beside(self, *children: Child) -> None:
        """Keep other processes running beside our own, until the stack goes down; returns once all are ready.

        Raises:
            ServiceFailed: one did not start; its last words are in the hint.
        """
        assert self._supervisor is not None, "nothing can run beside a stack that is not up"
        self._supervisor.start(*children)

    def _worker(self, name: str, known_as: str, more: Mapping[str, str] | None = None) -> Child:
        own = {"NEUTRINO_WORKER_NAME": known_as, "NEUTRINO_DATA_DIR": str(folder.make(self.data_dir / name))}
        ready = partial(services.has_worker, self.url, self.admin_token, known_as)
        return self._child(WORKER, name, own | dict(more or {}), ready=ready)

    def _child(
        self,
        service: Service,
        name: str,
        own: Mapping[str, str] | None = None,
        ready: Callable[[], bool] = at_once,
    ) -> Child:
        return services.child(service, name, self._values | dict(own or {}), self.data_dir, ready)

    @property
    def _credentials_file(self) -> Path:
        return self.data_dir / "credentials.json"

    def _bootstrap(self, rotate: bool) -> Mapping[str, str | None]:
        options = ["--rotate"] if rotate else []
        output = services.run(BOOTSTRAP, "bootstrap", self._values, self.data_dir, *options)
        made: dict[str, str | None] = json.loads(output)
        return made
