"""Waiting between attempts to reach the API."""

from __future__ import annotations

import asyncio
import logging
import random

from orchestrator.domain.errors import NeutrinoError, RateLimited

log = logging.getLogger(__name__)

_FIRST, _CEILING = 0.1, 5.0


class Backoff:
    """Doubles from 0.1 s to 5 s; of each pause at least half, and the rest by chance, so that the workers of a cluster
    do not come back in step.

    Source ("equal jitter"): https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """A call succeeded."""
        if self._failures:
            log.info("The API answers again.")
        self._failures = 0

    async def wait(self, error: NeutrinoError) -> None:
        """Wait after a failed call."""
        if self._failures == 0:
            log.warning("%s Trying again.", error)
        delay = min(_FIRST * 2.0 ** min(self._failures, 10), _CEILING)
        self._failures += 1
        asked = error.retry_after if isinstance(error, RateLimited) else None
        await asyncio.sleep(asked if asked is not None else delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
