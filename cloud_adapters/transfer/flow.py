"""What all streams of one transfer share: options, memory, bandwidth, cancellation, and the count of bytes."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cloud_adapters.base import MIB
from cloud_adapters.retrying import RetryingStore
from orchestrator.domain.errors import NeutrinoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cloud_adapters.base import ObjectStore

_LOOK_SECONDS = 0.1


class TransferCancelled(NeutrinoError):
    """The transfer was cancelled. Nothing became visible; the same transfer started again goes on from here."""

    code = "transfer_cancelled"
    status = 409
    exit_code = 9


@dataclass(frozen=True, slots=True)
class Options:
    """How to transfer. Bytes and bytes per second.

    `paranoid` reads everything back and believes no checksum of a store. `trust_store` says whether the destination
    refuses bodies that do not fit their MD5; by default it is asked, with one small object that lies.
    """

    streams: int = 6
    small_streams: int = 128
    memory: int = 96 * MIB
    part_size: int = 8 * MIB
    bandwidth: float | None = None
    paranoid: bool = False
    trust_store: bool | None = None


@dataclass(slots=True)
class Counts:
    """Bytes and files by what happened to them. `crossed` are those of `copied_inside` that came from the source, and
    not from what the destination held."""

    read: int = 0
    sent: int = 0
    read_back: int = 0
    already_there: int = 0
    copied_inside: int = 0
    crossed: int = 0
    files_done: int = 0

    @property
    def moved(self) -> int:
        """Bytes that this transfer brought."""
        return self.sent + self.copied_inside

    @property
    def taken(self) -> int:
        """Bytes that were taken from the source, for which its provider may charge."""
        return self.read + self.crossed

    @property
    def done(self) -> int:
        """Bytes that are at the destination."""
        return self.moved + self.already_there


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is: `total` bytes and `files` are to be brought, `to_prove` bytes of them to be read back,
    too, and `counts` tells what has been done in `seconds` since its start."""

    total: int
    files: int
    seconds: float
    counts: Counts
    to_prove: int = 0

    @property
    def done(self) -> int:
        """Bytes that are at the destination."""
        return self.counts.done

    @property
    def proven(self) -> int:
        """Bytes that have been read back, of those that have to be."""
        return min(self.counts.read_back, self.to_prove)

    @property
    def files_done(self) -> int:
        """Files that are at the destination, and proven."""
        return self.counts.files_done

    @property
    def fraction(self) -> float:
        """Which part of all work is done, from 0 to 1."""
        work = self.total + self.to_prove
        return (self.done + self.proven) / work if work else 1.0

    @property
    def rate(self) -> float:
        """Bytes per second so far, of those that were sent or copied just now, not by an earlier attempt."""
        return self.counts.moved / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """What is left, reading back included, at the pace so far; None while that is unknown."""
        worked = self.counts.moved + self.proven
        left = self.total + self.to_prove - self.done - self.proven
        return left * self.seconds / worked if worked and self.seconds > 0 else None


@dataclass(slots=True)
class Flow:
    """The shared state of one transfer; every method may be called from any thread. `cancel` belongs to whoever wants
    the transfer, `failed` says that a part of it has failed or that Ctrl-C was pressed: either ends the rest."""

    options: Options
    total: int
    files: int
    on_progress: Callable[[Progress], None] | None
    cancel: threading.Event
    failed: threading.Event = field(default_factory=threading.Event)
    counts: Counts = field(default_factory=Counts)
    to_prove: int = 0
    started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _room: threading.Condition = field(default_factory=threading.Condition)
    _used: int = 0
    _free_at: float = 0.0

    def check(self) -> None:
        """Raises TransferCancelled once that was asked for, or when a part has failed."""
        if self.cancel.is_set() or self.failed.is_set():
            raise TransferCancelled("The transfer was cancelled.", hint="Start it again to go on from here.")

    def count(self, **bytes_by_kind: int) -> None:
        """Adds to the counts, and tells whoever wants to know."""
        with self._lock:
            for kind, size in bytes_by_kind.items():
                setattr(self.counts, kind, getattr(self.counts, kind) + size)
            if self.on_progress:
                self.on_progress(self.progress())

    def progress(self) -> Progress:
        """The state of this moment."""
        seconds = time.monotonic() - self.started
        return Progress(self.total, self.files, seconds, replace(self.counts), self.to_prove)

    def spare(self, size: int) -> None:
        """So many bytes need not be read back after all."""
        with self._lock:
            self.to_prove = max(0, self.to_prove - size)

    @contextmanager
    def memory(self, size: int) -> Iterator[None]:
        """Waits until `size` bytes may be held; one piece larger than the whole budget may be held alone."""
        size = min(size, self.options.memory)
        with self._room:
            self._room.wait_for(lambda: self._used + size <= self.options.memory)
            self._used += size
        try:
            yield
        finally:
            with self._room:
                self._used -= size
                self._room.notify_all()

    def wait(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Waits so long, or until `stop`. Raises TransferCancelled soon after the end of the transfer was wanted."""
        stop, until = stop or self.failed, time.monotonic() + seconds
        self.check()
        while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, _LOOK_SECONDS)):
            self.check()
        self.check()

    def with_patience(self, store: ObjectStore) -> ObjectStore:
        """The store, whose waits between two attempts at the same request end with the transfer."""
        if not isinstance(store, RetryingStore):
            return store
        return RetryingStore(store.inner, replace(store.retry, wait=self.wait))

    def pace(self, size: int, stop: threading.Event | None = None) -> None:
        """Waits until `size` bytes fit the bandwidth limit, or until `stop`; raises TransferCancelled."""
        self.check()
        if not self.options.bandwidth:
            return
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + size / self.options.bandwidth
        self.wait(begin - now, stop)
