"""`python -m orchestrator.bootstrap` makes what an empty database needs: a workspace, a pool, the first tokens.

Prints JSON on stdout: `{"admin_token": …, "worker_token": …}` with the tokens that were made now, null for those
that exist already. Safe to run again; `--rotate` revokes both and makes new ones.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from contextlib import suppress

from orchestrator.domain.errors import Conflict, NeutrinoError
from orchestrator.domain.views import CreatePool, CreateToken
from orchestrator.store import pools, tokens
from orchestrator.store.session import Connection, Database

WORKSPACE = "default"
POOL = "local"


def _token(connection: Connection, workspace_id: int, wanted: CreateToken, *, rotate: bool) -> str | None:
    if rotate:
        tokens.revoke_named(connection, workspace_id, wanted.name)
    if tokens.exists_named(connection, workspace_id, wanted.name):
        return None
    return tokens.create(connection, workspace_id, wanted).token


def bootstrap(database: Database, store: str, *, rotate: bool = False) -> dict[str, str | None]:
    """Make what is missing; `store` is the URI of the local pool's object store. Returns the secrets made now."""
    user = getpass.getuser()
    with database.transaction() as connection:
        workspace_id = tokens.ensure_workspace(connection, WORKSPACE)
        with suppress(Conflict):
            pools.create(connection, CreatePool(name=POOL, store=store))
        admin = CreateToken(name="bootstrap-admin", user=user, role="admin", expires_in_days=None)
        worker = CreateToken(name="bootstrap-worker", user="worker", role="worker", expires_in_days=None)
        return {
            "admin_token": _token(connection, workspace_id, admin, rotate=rotate),
            "worker_token": _token(connection, workspace_id, worker, rotate=rotate),
        }


def main() -> None:
    """Read DATABASE_URL and NEUTRINO_STORE, and do it."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.bootstrap", description=__doc__)
    parser.add_argument("--rotate", action="store_true", help="revoke both tokens and make new ones")
    arguments = parser.parse_args()
    store = os.environ.get("NEUTRINO_STORE")
    if not store:
        sys.exit(
            "NEUTRINO_STORE is not set. Set it to the URI of the local pool's store, such as file:///var/lib/neutrino."
        )
    try:
        made = bootstrap(Database.from_env(application="neutrino-bootstrap"), store, rotate=arguments.rotate)
    except NeutrinoError as error:
        sys.exit(str(error))
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()
