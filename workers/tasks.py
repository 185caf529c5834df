"""Work that goes on beside other work: none of it ends unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn


class Tasks:
    """What was begun and has not ended. Whoever began it awaits `failure` among its parts (see `together`)."""

    def __init__(self) -> None:
        self._going: set[asyncio.Task[None]] = set()
        self._failed = asyncio.Event()
        self._error: BaseException | None = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin it."""
        task = asyncio.get_running_loop().create_task(work)
        self._going.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._ended)
        return task

    async def failure(self) -> NoReturn:
        """Raise what the first that failed has raised, once there is one."""
        await self._failed.wait()
        assert self._error is not None
        raise self._error

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._going.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._error is None:
            self._error = error
            self._failed.set()


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Do all of these until the first one ends; the others are cancelled then. Raises what it has raised."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
