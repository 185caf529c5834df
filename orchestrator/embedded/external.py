"""A Postgres or a Redis that the user runs: whether it can be used, said in one sentence before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, urlsplit

import psycopg
import redis

from orchestrator.domain.errors import InvalidSpec, ServerUnavailable

_PATIENCE_S = 5


def require(variable: str, url: str) -> None:
    """Look whether the server that a variable names can be used.

    Raises:
        InvalidSpec: it is no address of such a server.
        ServerUnavailable: the server does not answer, or does not let us in.
    """
    what, example, schemes, connect = _SERVERS[variable]
    try:
        address = urlsplit(url)
        address.port  # noqa: B018 - it is read, and refused, when it is asked for
    except ValueError:
        address = SplitResult("", "", "", "", "")
    if address.scheme not in schemes:
        hint = f"Write it like {example}, or `unset {variable}`: a {what} of its own is started then."
        raise InvalidSpec(f"{variable} is not the address of a {what}.", hint=hint)
    try:
        connect(url)
    except (psycopg.Error, redis.RedisError, OSError, ValueError) as error:
        place = f"{address.hostname or 'localhost'}{f':{address.port}' if address.port else ''}"
        said = _sentence(error, address.password)
        hint = f"Start it or correct {variable}, or `unset {variable}`: a {what} of its own is started then."
        raise ServerUnavailable(f"The {what} of {variable} at {place} cannot be used: {said}", hint=hint) from None


def _sentence(error: Exception, secret: str | None) -> str:
    """The last thing that was said, on one line and without the password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = next((line for line in lines if "failed" in line or "refused" in line), lines[-1])
    said = said.rsplit("FATAL: ", 1)[-1].strip()
    if secret:
        said = said.replace(secret, "***")
    return said if said.endswith(".") else f"{said}."


def _postgres(url: str) -> None:
    _, _, rest = url.partition("://")
    psycopg.connect(f"postgresql://{rest}", connect_timeout=_PATIENCE_S).close()


def _redis(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S) as server:
        server.ping()


_Server = tuple[str, str, tuple[str, ...], Callable[[str], None]]
_SERVERS: Mapping[str, _Server] = {
    "DATABASE_URL": (
        "Postgres",
        "postgresql://user:password@host:5432/database",
        ("postgresql", "postgres", "postgresql+psycopg"),
        _postgres,
    ),
    "REDIS_URL": ("Redis", "redis://:password@host:6379/0", ("redis", "rediss"), _redis),
}
