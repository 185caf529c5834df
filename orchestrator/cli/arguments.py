"""Arguments that several commands take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestrator.sdk.client import Client

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, such as j-7f3k1.", show_default=False)]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.", show_default=False)]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="DURATION", help="Give up waiting after 90s, 1h30m.")]


def connect() -> Client:
    """The client for the profile in use."""
    from orchestrator.sdk.client import Client
    from orchestrator.sdk.transport import BRIEF_RETRIES

    return Client(retries=BRIEF_RETRIES)


def rate(text: str | None, option: str = "--limit") -> int | None:
    """Bytes per second. Raises BadParameter."""
    if text is None:
        return None
    from orchestrator.domain.quantities import parse_memory

    try:
        found = parse_memory(text.removesuffix("/s"))
    except ValueError:
        found = 0
    if found <= 0:
        raise typer.BadParameter(f"{text!r} is not a rate; write 50MB/s or 1GiB/s.", param_hint=option)
    return found


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` options as a dict. Raises BadParameter for one without `=`."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE.", param_hint=option)
        found[key] = value
    return found
