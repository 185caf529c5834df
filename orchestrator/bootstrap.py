"""`python -m orchestrator.bootstrap` makes what an empty database needs: a workspace, its pools, the first tokens.

Prints JSON on stdout: `{"admin_token": …, "worker_token": …}` with the tokens that were made now, null for those
that exist already. Safe to run again; `--rotate` revokes both and makes new ones.

An installer that keeps the secrets itself gives them as NEUTRINO_ADMIN_TOKEN and NEUTRINO_WORKER_TOKEN: they are put in
force, in place of earlier ones, and never printed. NEUTRINO_POOLS, a JSON list of pools as in `POST /v1/pools`, stands
in for the one pool `local` whose store is NEUTRINO_STORE; pools that exist are made what it says. So are clusters,
which NEUTRINO_CLUSTERS lists as in `POST /v1/clusters`.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.domain.errors import Conflict, NeutrinoError, NotFound
from orchestrator.domain.faults import field_errors
from orchestrator.domain.pods import CreateCluster
from orchestrator.domain.views import CreatePool, CreateToken
from orchestrator.store import clusters, pools, tokens
from orchestrator.store.session import Connection, Database

WORKSPACE = "default"
POOL = "local"
_SHORTEST_SECRET = 32
_ADMIN = "NEUTRINO_ADMIN_TOKEN"
_WORKER = "NEUTRINO_WORKER_TOKEN"
_CLUSTERS = "NEUTRINO_CLUSTERS"
_POOLS = "NEUTRINO_POOLS"
_EXAMPLES = {
    _CLUSTERS: '[{"name": "prod", "kind": "eks", "cluster": "training", "region": "eu-west-1"}]',
    _POOLS: '[{"name": "local", "store": "file:///var/lib/neutrino"}]',
}

Listed = TypeVar("Listed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the database shall have: these clusters, and these pools as they are, or at least a pool `local` with this
    store. Secrets that are empty are made here."""

    store: str = ""
    pools: Sequence[CreatePool] = ()
    admin_secret: str = field(default="", repr=False)
    worker_secret: str = field(default="", repr=False)
    clusters: Sequence[CreateCluster] = ()

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Wanted:
        """What the environment asks for. Raises NeutrinoError naming the variable that is missing or wrong."""
        pools, store = _listed(env, _POOLS, CreatePool), env.get("NEUTRINO_STORE", "")
        if not pools and not store:
            raise NeutrinoError(
                "NEUTRINO_STORE is not set.",
                hint="Set it to the URI of the local pool's store, such as file:///var/lib/neutrino.",
            )
        clusters = _listed(env, _CLUSTERS, CreateCluster)
        return cls(store, pools, _secret(env, _ADMIN), _secret(env, _WORKER), clusters)


def bootstrap(database: Database, wanted: Wanted, *, rotate: bool = False) -> dict[str, str | None]:
    """Make what is missing. Returns the secrets made now. Raises NeutrinoError for pools whose cluster is unknown, when
    all else is done."""
    admin = CreateToken(name="bootstrap-admin", user=_user(), role="admin", expires_in_days=None)
    worker = CreateToken(name="bootstrap-worker", user="worker", role="worker", expires_in_days=None)
    with database.transaction() as connection:
        workspace_id = tokens.ensure_workspace(connection, WORKSPACE)
        made = {
            "admin_token": _token(connection, workspace_id, admin, wanted.admin_secret, rotate=rotate),
            "worker_token": _token(connection, workspace_id, worker, wanted.worker_secret, rotate=rotate),
        }
        for cluster in wanted.clusters:
            clusters.ensure(connection, cluster)
        if not wanted.pools:
            with suppress(Conflict):
                pools.create(connection, CreatePool(name=POOL, store=wanted.store))
    _ensure_pools(database, wanted.pools)
    return made


def _ensure_pools(database: Database, wanted: Sequence[CreatePool]) -> None:
    """One at a time and after the tokens: a pool on a cluster that nobody has added yet must not lock out whoever is to
    add it, nor hold up the other pools."""
    missing = []
    for pool in wanted:
        try:
            with database.transaction() as connection:
                pools.ensure(connection, pool)
        except NotFound as error:
            missing.append(f"Pool {pool.name}: {error}")
    if missing:
        raise NeutrinoError("\n".join(missing), hint="Run this again then.")


def _token(connection: Connection, workspace_id: int, wanted: CreateToken, secret: str, *, rotate: bool) -> str | None:
    if secret:
        tokens.ensure(connection, workspace_id, wanted, secret)
        return None
    if rotate:
        tokens.revoke_named(connection, workspace_id, wanted.name)
    if tokens.exists_named(connection, workspace_id, wanted.name):
        return None
    return tokens.create(connection, workspace_id, wanted).token


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        return "admin"


def _listed(env: Mapping[str, str], name: str, item: type[Listed]) -> list[Listed]:
    try:
        return TypeAdapter(list[item]).validate_json(env.get(name) or "[]")  # type: ignore[valid-type]
    except ValidationError as error:
        fault = field_errors(error.errors(include_url=False), list[item])[0]  # type: ignore[valid-type]
        raise NeutrinoError(
            f"{name} is wrong at {fault.path or 'its start'}: {fault.message}.",
            hint=fault.hint or f"It is a JSON list such as {_EXAMPLES[name]}.",
        ) from error


def _secret(env: Mapping[str, str], name: str) -> str:
    secret = env.get(name, "")
    if secret and (len(secret) < _SHORTEST_SECRET or not secret.isascii() or not secret.startswith(tokens.USER_PREFIX)):
        raise NeutrinoError(
            f"{name} is no token.",
            hint=f"Make one with: echo {tokens.USER_PREFIX}$(openssl rand -hex 24)",
        )
    return secret


def main() -> None:
    """Read the environment and DATABASE_URL, and do it."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.bootstrap", description=__doc__)
    parser.add_argument("--rotate", action="store_true", help="revoke both tokens and make new ones")
    arguments = parser.parse_args()
    try:
        wanted = Wanted.from_env()
        made = bootstrap(Database.from_env(application="neutrino-bootstrap"), wanted, rotate=arguments.rotate)
    except NeutrinoError as error:
        sys.exit(str(error))
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
