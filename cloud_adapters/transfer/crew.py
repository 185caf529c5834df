"""Many small pieces of work side by side, in as many threads as are worth it."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

Item = TypeVar("Item")

_FIRST = 8
_TIMES = 4
_LOOK_SECONDS = 0.01
_BUSY = 0.8  # processors; one is what a process of Python comes near to that waits for nobody


class Crew(Generic[Item]):
    """Does `work` on every item, in up to `most` threads.

    Only one thread of Python runs at a time, so threads that need not wait are in each other's way: 64 of them take a
    third more of the processor than 8 for the same files. Over a distance each of them waits nearly all the time, and
    none is too many. So a few begin, and bring in others while the processor has time to spare.
    """

    def __init__(self, work: Callable[[Item], None], items: Iterable[Item], most: int) -> None:
        self._work = work
        self._items = deque(items)
        self._most = max(1, most)
        self._members: list[Future[None]] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def run(self) -> None:
        """Returns when all is done. A failure ends it; it is raised when nobody is at work any more."""
        with ThreadPoolExecutor(self._most, thread_name_prefix="files") as self._pool:
            self._grow_to(_FIRST)
            try:
                for member in self._members:  # of whom there may be more by then
                    member.result()
            finally:  # also when Ctrl-C ends the wait: what has not begun is not begun
                self._stop.set()

    def _grow_to(self, count: int) -> None:
        while len(self._members) < min(count, self._most, len(self._members) + len(self._items)):
            self._members.append(self._pool.submit(self._take_part))

    def _take_part(self) -> None:
        try:
            while not self._stop.is_set() and (item := self._next()) is not None:
                self._work(item)
        except BaseException:
            self._stop.set()
            raise

    def _next(self) -> Item | None:
        with self._lock:
            wall, cpu = time.perf_counter(), time.process_time()
            if wall - self._wall > _LOOK_SECONDS:
                if cpu - self._cpu < _BUSY * (wall - self._wall):
                    self._grow_to(_TIMES * len(self._members))
                self._wall, self._cpu = wall, cpu
            return self._items.popleft() if self._items else None
