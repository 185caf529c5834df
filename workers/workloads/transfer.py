"""The process that copies or checks one artifact: `python -m workers.workloads.transfer`.

It is no user's code, so unlike other attempts it works with the worker's own credentials. They come through standard
input, and not in its environment, which other processes of this user could read. After them comes, again and again,
until when the worker holds the lease: without another word this process ends itself then, because another worker may
begin to write the same copy. What it has to say it writes to standard output, one JSON document per line: progress,
notes, sources that may be damaged, and at last how it ended.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloud_adapters.artifacts import open_verified, read_manifest
from cloud_adapters.base import ObjectStore, join_key
from cloud_adapters.errors import AccessDenied, InvalidStore, ObjectNotFound, TransientStoreError
from cloud_adapters.registry import open_store
from cloud_adapters.transfer import Counts, Options, Progress, TransferCancelled, cost_of, transfer
from orchestrator.domain.artifact import MANIFEST_NAME, MARK, Manifest, ManifestFile
from orchestrator.domain.errors import CorruptArtifact, NeutrinoError
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.state import Reason
from orchestrator.domain.transfer import Order, Place
from workers import proctree
from workers.zygote import clock

_TELL_SECONDS = 0.3
_BILL_SECONDS = 3.0
_LOOK_SECONDS = 0.1
_CHECKERS = 8
_SHOWN = 5

Tell = Callable[[dict[str, Any]], None]


class Pace:
    """Tells the progress, though not every time that there is some."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        if (now := time.monotonic()) < self._next and progress.fraction < 1:
            return
        self._next = now + _TELL_SECONDS
        left = progress.seconds_left
        read_back = f", {format_bytes(progress.proven)} read back" if progress.proven else ""
        rest = "" if left is None else f", {format_bytes(int(progress.rate))}/s, {left:.0f} s left"
        text = f"{format_bytes(progress.done)} of {format_bytes(progress.total)}{read_back}{rest}"
        self._tell({"progress": progress.fraction, "message": text})


class Bill:
    """What this attempt has moved, from whichever sources, and what that costs. It is told now and then, so that also
    the bytes of an attempt that is killed are known: those of all attempts are added up."""

    def __init__(self, order: Order, tell: Tell) -> None:
        self._order = order
        self._tell = tell
        self._next = 0.0
        self._before: defaultdict[str, float] = defaultdict(float)
        self._now: dict[str, float] = {}

    def note(self, counts: Counts, seconds: float, cost: float) -> None:
        """What the source at hand has come to."""
        self._now = {
            "transfer/sent_bytes": counts.sent,
            "transfer/read_bytes": counts.read,
            "transfer/reused_bytes": counts.already_there + counts.copied_inside,
            "transfer/seconds": seconds,
            "transfer/usd": cost,
        }
        if (now := time.monotonic()) >= self._next:
            self._next = now + _BILL_SECONDS
            self.tell()

    def tell(self) -> None:
        """Tell it now."""
        sums = {name: value + self._before[name] for name, value in self._now.items()}
        self._tell({"metrics": {"transfer/total_bytes": self._order.size, **sums}})

    def close(self) -> None:
        """The source at hand is done with: what comes now is added to it."""
        if self._now:
            self.tell()
        for name, value in self._now.items():
            self._before[name] += value
        self._now = {}


def copy(order: Order, tell: Tell, cancel: threading.Event) -> None:
    """Make the copy, from the first source from which that can be done. Raises the error of the last one otherwise."""
    destination = open_store(order.target.store)
    if order.mend:
        _require_store(destination, order)
        _clear_damaged_manifest(destination, order)
    failure: NeutrinoError | None = None
    bill = Bill(order, tell)
    for source in order.sources:
        try:
            return _copy_from(source, destination, order, tell, bill, cancel)
        except TransferCancelled:
            raise
        except NeutrinoError as error:
            tell({"note": f"From {source.store}: {error}"})
            if isinstance(error, (CorruptArtifact, ObjectNotFound)):
                tell({"damaged": source.store})
            if failure is None or error.retryable:
                failure = error
    assert failure is not None, "an order to copy has sources"
    raise failure


def _copy_from(
    source: Place, destination: ObjectStore, order: Order, tell: Tell, bill: Bill, cancel: threading.Event
) -> None:
    origin, pace = open_store(source.store), Pace(tell)

    def show(progress: Progress) -> None:
        pace(progress)
        bill.note(progress.counts, progress.seconds, cost_of(progress.counts.taken, origin, destination).usd)

    try:
        report = transfer(
            origin,
            source.prefix,
            destination,
            order.target.prefix,
            digest=order.digest,
            reuse=order.reuse,
            options=Options(paranoid=order.paranoid, bandwidth=order.limit),
            on_progress=show,
            cancel=cancel,
        )
        bill.note(report.counts, report.seconds, report.cost.usd)
    finally:
        bill.close()
    counts = report.counts
    tell(
        {
            "note": f"{order.files} files, {format_bytes(order.size)} in {order.target.store}: "
            f"{format_bytes(counts.sent)} sent, {format_bytes(counts.copied_inside + counts.already_there)} there. "
            f"Proof: {report.proof}.",
        }
    )


def _clear_damaged_manifest(store: ObjectStore, order: Order) -> None:
    """A manifest that is not the artifact's would be taken for another artifact, and is never overwritten."""
    try:
        if read_manifest(store, order.target.prefix).digest == order.digest:
            return
    except ObjectNotFound:
        return
    except CorruptArtifact:
        pass
    store.delete(join_key(order.target.prefix, MANIFEST_NAME))


def _manifest(store: ObjectStore, order: Order) -> Manifest:
    """The manifest of the copy that is checked. Raises CorruptArtifact when it is not the one that was published, and
    TransientStoreError when the store is not there: that says nothing about the copy."""
    where = f"The manifest at {order.target.prefix} in {order.target.store}"
    try:
        manifest = read_manifest(store, order.target.prefix)
    except (ObjectNotFound, InvalidStore) as error:
        _require_store(store, order)
        raise CorruptArtifact(f"{where} is missing.") from error
    if manifest.digest != order.digest:
        raise CorruptArtifact(f"{where} is not the one that was published.")
    return manifest


def _require_store(store: ObjectStore, order: Order) -> None:
    """Raise TransientStoreError for a folder that is not mounted, and for what was emptied or removed as a whole."""
    try:
        if order.marked:
            store.head(MARK)
            return
        if store.list_page(limit=1).objects:
            return
        missing = None
    except ObjectNotFound as error:
        missing = error
    raise TransientStoreError(
        f"{order.target.store} is not there, or was emptied: it does not hold {MARK if order.marked else 'anything'}.",
        hint=f"Bring it back. If it has to begin anew, put an empty file at {MARK}: its copies are then mended.",
    ) from missing


def _is_damage(error: NeutrinoError) -> bool:
    """Whether a file that cannot be read in a store that can is a damaged one: it is missing, is closed to us, became a
    link, or lies where the disk is broken, which trying again did not mend."""
    if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO:
        return True
    kinds = (CorruptArtifact, ObjectNotFound, InvalidStore, AccessDenied)
    return isinstance(error, kinds) and not error.retryable


def verify(order: Order, tell: Tell, cancel: threading.Event) -> None:
    """Hash every byte of the copy. Raises CorruptArtifact naming the files that are damaged or missing, and
    TransientStoreError when the store itself is not there."""
    store, prefix = open_store(order.target.store), order.target.prefix
    manifest = _manifest(store, order)
    began, done, lock, pace = time.monotonic(), [0, 0], threading.Lock(), Pace(tell)

    def count(size: int, files: int) -> None:
        with lock:
            done[0] += size
            done[1] += files
            seconds = time.monotonic() - began
            counts = Counts(sent=done[0], files_done=done[1])
            pace(Progress(manifest.size, len(manifest.files), seconds, counts))

    def fault(file: ManifestFile) -> str | None:
        try:
            for chunk in _read(store, prefix, file):
                if cancel.is_set():
                    raise TransferCancelled("The check was cancelled.")
                count(len(chunk), 0)
        except NeutrinoError as error:
            if not _is_damage(error):
                raise
            return file.path
        count(0, 1)
        return None

    with ThreadPoolExecutor(_CHECKERS, thread_name_prefix="verify") as pool:
        damaged = [path for path in pool.map(fault, manifest.files) if path is not None]
    if damaged:
        _manifest(store, order)  # of a store that has gone meanwhile, or is closed to us now, no file is damaged
        names = ", ".join(damaged[:_SHOWN]) + (" …" if len(damaged) > _SHOWN else "")
        raise CorruptArtifact(
            f"{len(damaged)} of {len(manifest.files)} files in {order.target.store} are not what the manifest says: "
            f"{names}."
        )
    seconds = time.monotonic() - began
    tell(
        {"note": f"{len(manifest.files)} files, {format_bytes(manifest.size)}: every byte is right ({seconds:.1f} s)."}
    )


def _read(store: ObjectStore, prefix: str, file: ManifestFile) -> Iterator[bytes]:
    yield from open_verified(store, prefix, file)


def _reason(error: NeutrinoError) -> Reason:
    if isinstance(error, TransferCancelled):
        return Reason.CANCELLED_BY_USER
    if error.retryable:
        return Reason.INFRA_ERROR
    return Reason.DAMAGED if isinstance(error, CorruptArtifact) else Reason.STORE_REFUSED


class Leash:
    """Ends this process, whatever it is at, when the worker has not said in time that it may go on."""

    def __init__(self, words: Iterable[bytes], until: float) -> None:
        self._words = words
        self._until = until
        for act in (self._listen, self._watch):
            threading.Thread(target=act, name="leash", daemon=True).start()

    def _listen(self) -> None:
        for word in self._words:
            self._until = json.loads(word)["until"]

    def _watch(self) -> None:
        while clock() < self._until:
            time.sleep(_LOOK_SECONDS)
        os.write(2, b"The worker may have lost its lease; nothing more is written.\n")
        os._exit(1)


def main() -> None:
    """Read what is to be done from standard input, do it, and tell how it ended."""
    parent = os.getppid()
    proctree.die_with_parent()
    proctree.hide_memory()
    if os.getppid() != parent:
        return
    cancel, lock = threading.Event(), threading.Lock()
    signal.signal(signal.SIGTERM, lambda *_: cancel.set())
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints is meant for people

    def tell(message: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    tell({"hidden": True})  # now credentials may come
    words = os.fdopen(os.dup(0), "rb")
    told = json.loads(words.readline())
    Leash(words, told["until"])
    os.environ.update(told["environment"])
    order = Order.model_validate(told["order"])
    try:
        {"copy": copy, "verify": verify}[order.action](order, tell, cancel)
    except NeutrinoError as error:
        tell({"end": _reason(error), "message": str(error)})
    else:
        tell({"end": Reason.SUCCEEDED, "message": f"Verified: {format_bytes(order.size)} in {order.target.store}."})


if __name__ == "__main__":
    main()
