"""`python -m orchestrator.api` serves the API on NEUTRINO_BIND (default 127.0.0.1:8470)."""

from __future__ import annotations

import os
import sys

import uvicorn

from orchestrator import logs
from orchestrator.api.app import THREADS, create_app
from orchestrator.domain.errors import NeutrinoError
from orchestrator.store.session import Database

DEFAULT_BIND = "127.0.0.1:8470"
_DRAIN_SECONDS = 5


def main() -> None:
    """Serve until SIGTERM; streams are ended first, so that their clients go to another replica."""
    logs.configure("api")
    host, _, port = os.environ.get("NEUTRINO_BIND", DEFAULT_BIND).rpartition(":")
    try:
        app = create_app(Database.from_env(pool_size=THREADS, application="neutrino-api"))
    except NeutrinoError as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=host,
        port=int(port),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
