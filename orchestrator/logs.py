"""How the services log: one line per record on stderr, to be collected by whatever runs them."""

from __future__ import annotations

import logging
import os


def configure(service: str) -> None:
    """Set up logging for a service; NEUTRINO_LOG_LEVEL chooses the level."""
    level = os.environ.get("NEUTRINO_LOG_LEVEL", "INFO").upper()
    logging.basicConfig(level=level, format=f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s", force=True)
    for chatty in ("httpx", "httpcore", "kombu", "alembic", "amqp"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
