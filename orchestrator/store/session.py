"""Connections. One engine per process; `transaction()` is how everything reaches the database."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orchestrator.domain.errors import NeutrinoError, ServerUnavailable
from orchestrator.store.pulse import Pulse, Watched

_PATIENCE_SECONDS = 4.0
_STATEMENT_SECONDS = 30.0
# No transaction of ours waits for anything but the database. One that is silent for so long belongs to a process that
# is stopped or cut off, and its locks would hold up every other replica.
_SILENCE_TIMEOUT = "15s"
# Our statements read thousands of rows, not millions. To share such a one out among processes, or to compile it, costs
# more than to run it; and where the processors are busy, it waits until all who have a share have had their turn.
_ALONE = "-c max_parallel_workers_per_gather=0 -c jit=off"
# Classes of SQLSTATE that mean "not now": connection, rollback of a deadlock, resources, operator intervention.
_PASSING = ("08", "40", "53", "57")
_UNAVAILABLE = "The database does not answer."
_HINT = "What was accepted is safe. Try again; `neutrino doctor` tells more."


__all__ = ["Connection", "Database"]


class Database:
    """An engine and the transactions on it. `url` is a SQLAlchemy URL of a Postgres server (15 or newer); no statement
    may take longer than `statement_seconds`. Whoever waits `patience` seconds for an answer asks whether the server
    still gives any (see store.pulse)."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        application: str = "neutrino",
        statement_seconds: float = _STATEMENT_SECONDS,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg")
        self.pulse = Pulse(self.url.set(drivername="postgresql").render_as_string(hide_password=False), patience)
        options = {
            "application_name": application,
            "options": f"-c statement_timeout={statement_seconds:.0f}s -c timezone=UTC "
            f"-c idle_in_transaction_session_timeout={_SILENCE_TIMEOUT} {_ALONE}",
        }
        # The server ends a statement that takes too long, and says so. One that does not has until a little later.
        longest = statement_seconds + patience

        def connect(_dialect: object, _record: object, _given: object, options: dict[str, Any]) -> Watched:
            return self.pulse.connect(longest, **options)

        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            pool_pre_ping=True,
            connect_args=options,
        )
        event.listen(self.engine, "do_connect", connect)

    @classmethod
    def from_env(cls, *, pool_size: int = 10, application: str = "neutrino") -> Database:
        """The database that DATABASE_URL names. Raises NeutrinoError when it is not set."""
        url = os.environ.get("DATABASE_URL")
        if not url:
            raise NeutrinoError("DATABASE_URL is not set.", hint="Set it to postgresql://user:password@host/database.")
        return cls(url, pool_size=pool_size, application=application)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block. Raises ServerUnavailable when the database is away."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except PoolTimeout as error:
            raise ServerUnavailable("The database is too busy.", hint=_HINT) from error
        except DataError:  # also what psycopg refuses before the server sees it: trying again cannot help
            raise
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if error.connection_invalidated or state is None or state.startswith(_PASSING):
                raise ServerUnavailable(_UNAVAILABLE, hint=_HINT) from error
            raise

    @contextmanager
    def listener(self, *channels: str) -> Iterator[psycopg.Connection[Any]]:
        """A connection of its own that LISTENs; read it with `.notifies()`. Raises ServerUnavailable likewise."""
        try:
            with self.pulse.connect(_STATEMENT_SECONDS, autocommit=True, application_name="neutrino-listen") as raw:
                for channel in channels:
                    raw.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
                yield raw
        except psycopg.OperationalError as error:
            raise ServerUnavailable(_UNAVAILABLE, hint=_HINT) from error

    def now(self) -> datetime:
        """The database's clock. Raises ServerUnavailable when there is none to ask."""
        with self.transaction() as connection:
            moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            return moment

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()
