"""What can go wrong when the whole system runs on one machine, in words."""

from __future__ import annotations

from orchestrator.domain.errors import Conflict, NeutrinoError


class DataFolderError(NeutrinoError):
    """The data folder cannot be made, or cannot be written."""

    code = "data_folder"


class AlreadyRunning(Conflict):
    """Another process already runs on this data folder. `details` hold its `pid` and its `url`, if known."""

    code = "already_running"


class PortBusy(Conflict):
    """No server can listen there, mostly because another process does."""

    code = "port_busy"


class MissingBinary(NeutrinoError):
    """A server's program is not installed, or cannot be run by the account that has to run it."""

    code = "missing_binary"


class NoAccount(NeutrinoError):
    """This process is root, and there is no way to run a server as somebody less powerful."""

    code = "no_account"


class WrongPostgresVersion(NeutrinoError):
    """The data folder was written by another major version of Postgres."""

    code = "postgres_version"


class ServiceFailed(NeutrinoError):
    """A child process did not start, or keeps dying. `log_tail` holds the last lines that it wrote."""

    code = "service_failed"

    @property
    def log_tail(self) -> list[str]:
        """The last lines of the child's log."""
        return list(self.details.get("log_tail", []))
