"""How a launcher gets rid of pods: asks them to go, waits until they are gone, and lets go of what is left of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from cloud_adapters.compute import Compute
from cloud_adapters.compute_errors import ComputeError
from workers.backoff import Backoff
from workers.flight import Flight
from workers.places import Site
from workers.tasks import Tasks
from workers.zygote import clock

_LINGER = 3.0  # seconds in which a pod that has reported ends by itself
_LOOK = 0.2


class Ground:
    """`place` is the open cluster, `move` runs what blocks in a thread, `on_cleared` hears when nothing is left, and
    `tasks` holds what is under way."""

    def __init__(
        self,
        place: Callable[[], Site | None],
        move: Callable[[Callable[[], None]], Awaitable[None]],
        on_cleared: Callable[[Flight], None],
        tasks: Tasks,
    ) -> None:
        self._place = place
        self._move = move
        self._on_cleared = on_cleared
        self._tasks = tasks

    def terminate(self, flight: Flight) -> None:
        """Ask its pods to go, once."""
        if not flight.terminating:
            flight.terminating = True
            self._tasks.spawn(self._insist(lambda: self._compute.terminate(flight.work)))

    def clear(self, flight: Flight) -> None:
        """Its attempt is over: nothing of it shall be left."""
        if not flight.clearing and flight.task is None:
            flight.clearing = True
            self._tasks.spawn(self._cleared(flight))

    @property
    def _compute(self) -> Compute:
        place = self._place()
        assert place is not None
        return place.compute

    async def _cleared(self, flight: Flight) -> None:
        patient_until = clock() + _LINGER
        while (status := self._compute.status(flight.work)) is not None and not status.gone:
            if clock() > patient_until:
                self.terminate(flight)
            flight.stranded = status.stranded(time.time())
            await asyncio.sleep(_LOOK)
        if status is None or not status.pieces:  # a Job that is not seen, or has no pods yet, may make some later
            await self._insist(lambda: self._compute.terminate(flight.work))
        await self._insist(lambda: self._compute.release(flight.work))
        self._on_cleared(flight)

    async def _insist(self, act: Callable[[], None]) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._move(act)
            except ComputeError as error:
                await backoff.wait(error)
            else:
                return
