"""Many small pieces of work side by side, in as many threads as are worth it."""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")

_FIRST = 4
_TIMES = 8
_LOOK_SECONDS = 0.01
_BUSY = 0.7  # processors; one is what a process of Python comes near to that waits for nobody


class Crew(Generic[Item]):
    """Does `work` on every item, in up to `most` threads.

    Only one thread of Python runs at a time, so threads that need not wait are in each other's way: 64 of them take a
    third more of the processor than a few for the same files. Over a distance each of them waits nearly all the time,
    and none is too many. So a few begin, and others join while the processor has time to spare.

    `stop` is set when one of them fails, or when Ctrl-C ends the wait for them: nothing is begun then, and what is at
    work may look at it.
    """

    def __init__(self, work: Callable[[Item], None], items: Iterable[Item], most: int, stop: threading.Event) -> None:
        self._work = work
        self._items = deque(items)
        self._most = max(1, most)
        self._members: list[Future[None]] = []
        self._failures: list[BaseException] = []
        self._stop = stop

    def run(self) -> None:
        """Returns when all is done. A failure ends it; the first is raised when nobody is at work any more."""
        with _old_objects_set_aside(), ThreadPoolExecutor(self._most, thread_name_prefix="files") as pool:
            try:
                self._grow_to(_FIRST, pool)
                while self._items and len(self._members) < self._most and not self._stop.is_set():
                    if self._has_time_to_spare():
                        self._grow_to(_TIMES * len(self._members), pool)
                wait(self._members)
            except BaseException:
                self._stop.set()
                raise
        if self._failures:
            raise self._failures[0]

    def _has_time_to_spare(self) -> bool:
        """Looks at this process for a moment, or until a failure ends the work."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._stop.wait(_LOOK_SECONDS)
        return time.process_time() - cpu < _BUSY * (time.perf_counter() - wall)

    def _grow_to(self, count: int, pool: ThreadPoolExecutor) -> None:
        while len(self._members) < min(count, self._most, len(self._members) + len(self._items)):
            self._members.append(pool.submit(self._take_part))

    def _take_part(self) -> None:
        try:
            while not self._stop.is_set() and (item := self._next()) is not None:
                self._work(item)
        except BaseException as error:  # noqa: BLE001 - whatever it is, `run` raises it
            self._failures.append(error)
            self._stop.set()

    def _next(self) -> Item | None:
        with suppress(IndexError):
            return self._items.popleft()
        return None


@contextmanager
def _old_objects_set_aside() -> Iterator[None]:
    """Spares the garbage collector everything that is there already, such as all that the SDKs are made of: thousands
    of files would have it looked through again and again, for a quarter of their time. A program that has set its own
    objects aside is left as it is."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
