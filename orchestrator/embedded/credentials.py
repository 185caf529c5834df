"""The tokens of the stack on this machine, in a file that only their owner may read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.embedded import folder


@dataclass(frozen=True, slots=True)
class Credentials:
    """The first admin's token, and the one with which local workers register. Neither shows in a repr."""

    admin_token: str = field(repr=False)
    worker_token: str = field(repr=False)


def load(path: Path) -> Credentials | None:
    """The stored credentials, or None when the file is missing or damaged: new ones can always be made."""
    try:
        return Credentials(**json.loads(folder.read(path) or "{}"))
    except (TypeError, ValueError):
        return None


def ensure(path: Path, bootstrap: Callable[[bool], Mapping[str, str | None]]) -> Credentials:
    """The credentials of a database, stored in `path`.

    `bootstrap(rotate)` gives the tokens that the database did not have before, and with `rotate` new ones for all. The
    database keeps only their hashes: when it has them and the file is lost, they are replaced.
    """
    made = _complete(bootstrap(False))
    found = made or load(path) or _complete(bootstrap(True))
    assert found is not None, "rotation makes both tokens"
    store(path, found)
    return found


def rotate(path: Path, bootstrap: Callable[[bool], Mapping[str, str | None]]) -> Credentials:
    """Replace the credentials, for a database that does not know those in `path`."""
    made = _complete(bootstrap(True))
    assert made is not None, "rotation makes both tokens"
    store(path, made)
    return made


def store(path: Path, credentials: Credentials) -> None:
    """Write the credentials."""
    folder.write(path, json.dumps(asdict(credentials)))


def _complete(made: Mapping[str, str | None]) -> Credentials | None:
    admin, worker = made.get("admin_token"), made.get("worker_token")
    return Credentials(admin, worker) if admin and worker else None
