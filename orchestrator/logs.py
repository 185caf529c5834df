"""How the services log: one line per record on stderr, to be collected by whatever runs them.

NEUTRINO_LOG_LEVEL chooses the level, and NEUTRINO_LOG_FORMAT `text`, for people, or `json`, for machines. What is given
to a record as `extra` becomes members of the JSON object; `job` and `attempt` have the same names everywhere.
"""

from __future__ import annotations

import logging
import os
import sys

_CHATTY = ("httpx", "httpcore", "kombu", "alembic", "amqp", "celery", "azure")


def configure(service: str) -> None:
    """Set up logging for a service. Settings that mean nothing end the process with a sentence."""
    level = os.environ.get("NEUTRINO_LOG_LEVEL", "INFO").upper()
    style = os.environ.get("NEUTRINO_LOG_FORMAT", "text")
    if level not in logging.getLevelNamesMapping():
        sys.exit(f"NEUTRINO_LOG_LEVEL is {level!r}. Set it to DEBUG, INFO, WARNING or ERROR.")
    if style not in {"text", "json"}:
        sys.exit(f"NEUTRINO_LOG_FORMAT is {style!r}. Set it to text or json.")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json(service) if style == "json" else _text(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def _text(service: str) -> logging.Formatter:
    return logging.Formatter(f"%(asctime)s %(levelname)s {service} %(name)s: %(message)s")


def _json(service: str) -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # noqa: PLC0415 - few ask for it, and every service would pay

    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        static_fields={"service": service},
        timestamp="time",
    )
