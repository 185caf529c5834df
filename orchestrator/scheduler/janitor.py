"""Keeps the stores clean and their copies checked, in threads of its own: stores are slow, and dispatching is not.
What contacts them has another one than what asks the database alone, which so is not held up by a store.

Nothing here is kept in memory: what is to be deleted stands in the database until it is deleted, and may be deleted
twice. Any number of replicas share the work, and one that dies is replaced by the next.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from cloud_adapters.artifacts import discard, list_keys, read_manifest
from cloud_adapters.base import ObjectStore, join_key
from cloud_adapters.errors import ObjectNotFound
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from cloud_adapters.streams import part_size_for
from cloud_adapters.transfer import Options
from orchestrator import settings
from orchestrator.domain.artifact import MARK
from orchestrator.domain.errors import NeutrinoError, ServerUnavailable
from orchestrator.scheduler.loop import Every
from orchestrator.store import checkpoints, garbage, replicas, transfers, usage
from orchestrator.store.garbage import Garbage
from orchestrator.store.session import Database

log = logging.getLogger(__name__)

_CLEAN_SECONDS = 1.0
_FORGET_SECONDS = 600.0
_CHECK_SECONDS = 5.0
_SEARCH_SECONDS = 60.0
_USAGE_SECONDS = 10.0
_ABANDONED_SECONDS = 86400.0
_AT_ONCE = 20
_ATTEMPTS_AT_ONCE = 5_000
_CHECKS_AT_ONCE = 2
_IMPATIENT = Retry(attempts=2, cap_s=1.0)


class Janitor:
    """Two threads that clean until stopped."""

    def __init__(self, database: Database) -> None:
        in_stores = [
            Every(_CLEAN_SECONDS, lambda: clean(database)),
            Every(_SEARCH_SECONDS, lambda: search(database)),
        ]
        in_the_database = [
            Every(_CHECK_SECONDS, lambda: check_next(database)),
            Every(_FORGET_SECONDS, lambda: forget_checkpoints(database)),
            Every(_USAGE_SECONDS, lambda: add_up(database)),
        ]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(chores,), name="janitor", daemon=True)
            for chores in (in_stores, in_the_database)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing new; what is being deleted is gone on with by whoever comes next."""
        self._stop.set()
        until = time.monotonic() + 2
        for thread in self._threads:
            thread.join(timeout=max(until - time.monotonic(), 0))

    def _run(self, chores: Sequence[Every]) -> None:
        while not self._stop.wait(_CLEAN_SECONDS):
            for chore in chores:
                self._do(chore)

    def _do(self, chore: Every) -> None:
        try:
            chore.run_if_due()
        except ServerUnavailable:
            log.warning("the database does not answer; looking again")
        except Exception:
            log.exception("the janitor failed; it goes on")


def clean(database: Database) -> None:
    """Delete what is to be deleted now. A store that has just failed is asked for nothing more in this round."""
    with database.transaction() as connection:
        replicas.remove_stale(connection, settings.current().stale_seconds)
        taken = garbage.take(connection, _AT_ONCE)
    failing: dict[str, str] = {}
    for one in taken:
        if why := failing.get(one.store):
            _refused(database, one, why)
        elif why := _delete(database, one):
            failing[one.store] = why


def _open(uri: str) -> ObjectStore:
    """A store, without much patience: there is another round, and there are other stores."""
    return RetryingStore(open_store(uri).inner, _IMPATIENT)


def _delete(database: Database, one: Garbage) -> str | None:
    """Delete the bytes below a prefix; why the store did not do it, if that was its answer."""
    try:
        store = _open(one.store)
        _abort_uploads(store, one)
        discard(store, one.prefix)
    except NeutrinoError as error:
        log.warning("%s in %s cannot be deleted now: %s", one.prefix, one.store, error)
        _refused(database, one, str(error))
        return str(error)
    except Exception as error:  # what is wrong with one must not hold up the others
        log.exception("%s in %s cannot be deleted now", one.prefix, one.store)
        _refused(database, one, repr(error))
        return None
    with database.transaction() as connection:
        garbage.gone(connection, one.id)
    log.info("deleted %s in %s", one.prefix, one.store)
    return None


def _refused(database: Database, one: Garbage, why: str) -> None:
    with database.transaction() as connection:
        garbage.refused(connection, one.id, why[:1000])


def _abort_uploads(store: ObjectStore, one: Garbage) -> None:
    """Unfinished uploads of large files are no objects, and yet their parts are stored, and paid for."""
    if one.original is None:
        return
    try:
        manifest = read_manifest(_open(one.original.store), one.original.prefix)
    except NeutrinoError as error:
        log.warning("what was to be at %s cannot be known: %s", one.prefix, error)
        return
    smallest = Options().part_size
    for file in manifest.files:
        if file.size > smallest:
            part_size = part_size_for(file.size, store.capabilities.max_parts, smallest)
            if upload := store.find_upload(join_key(one.prefix, file.path), part_size=part_size):
                store.abort_upload(upload)


def check_next(database: Database) -> None:
    """Begin to check, or to mend, the copy that waits for it longest."""
    with database.transaction() as connection:
        if (due := replicas.due(connection, settings.current().verify_days, _CHECKS_AT_ONCE)) is None:
            return
        try:
            with connection.begin_nested():
                transfers.check(
                    connection,
                    due.workspace_id,
                    transfers.SYSTEM,
                    artifact_id=due.artifact_id,
                    store=due.store,
                    model=due.model,
                )
        except NeutrinoError as error:
            log.warning("the copy of %s in %s cannot be checked now: %s", due.model, due.store, error)
            replicas.put_off(connection, due.artifact_id, due.store)


def forget_checkpoints(database: Database) -> None:
    """Throw the checkpoints of jobs away that ended long ago."""
    with database.transaction() as connection:
        if thrown := checkpoints.forget_ended(connection, settings.current().checkpoint_days):
            log.info("%d checkpoints of jobs that ended long ago will be deleted", thrown)


def add_up(database: Database) -> bool:
    """Add what some ended attempts have used to what their days have; True when there are more. Nobody waits for that:
    a control plane that takes over a large history adds it up in minutes, and answers meanwhile."""
    with database.transaction() as connection:
        return usage.add_up(connection, _ATTEMPTS_AT_ONCE) >= _ATTEMPTS_AT_ONCE


def search(database: Database) -> None:
    """Find uploads that nothing refers to, in the stores whose turn it is."""
    with database.transaction() as connection:
        stores = garbage.due_stores(connection, settings.current().sweep_hours)
    for store in stores:
        _search(database, store)


def _search(database: Database, uri: str) -> None:
    try:
        store = open_store(uri)
        if not _ours(database, uri, store):
            return
        uploads = sorted({upload for key in list_keys(store, "artifacts/") if (upload := _upload_of(key))})
    except NeutrinoError as error:
        log.warning("%s cannot be searched now: %s", uri, error)
        return
    with database.transaction() as connection:
        found = garbage.throw_unreferenced_away(connection, uri, uploads, settings.current().sweep_hours)
    if found:
        log.info("%d uploads in %s are referred to by nothing; they will be deleted", found, uri)
    _sweep(store)


def _sweep(store: ObjectStore) -> None:
    """Remove what an attempt or a transfer that was killed has left unfinished: stored, paid for, and in no listing."""
    try:
        if swept := store.sweep(before=time.time() - _ABANDONED_SECONDS):
            log.info("removed %d unfinished things in %s", swept, store.uri)
    except NeutrinoError as error:
        log.warning("what is unfinished in %s cannot be removed now: %s", store.uri, error)


def _ours(database: Database, uri: str, store: ObjectStore) -> bool:
    """Whether this installation is the one whose uploads lie there. Another database may know what this one does not:
    that of an installation before, or of one that shares the store by mistake. One in which our mark was, and is no
    more, gets none anew: it is not the store that it was. A person says that it is by an empty mark."""
    with database.transaction() as connection:
        own, known = garbage.installation(connection).encode(), garbage.is_marked(connection, uri)
    found = _mark_in(store)
    if found is None and known:
        log.warning("%s does not hold %s any more: it is not mounted, or was emptied; it is not cleaned", uri, MARK)
        return False
    if not found:
        store.put(MARK, own, create_only=found is None)
    elif found != own:
        log.warning("%s belongs to another installation (%s there); it is not cleaned", uri, MARK)
        return False
    if not known:
        with database.transaction() as connection:
            garbage.mark(connection, uri)
    return True


def _mark_in(store: ObjectStore) -> bytes | None:
    try:
        kept = bytearray(store.head(MARK).size)
    except ObjectNotFound:
        return None
    store.read_into(MARK, memoryview(kept))
    return bytes(kept)


def _upload_of(key: str) -> str | None:
    """The prefix of the upload that an object belongs to: `artifacts/1/j-7f3k1.2/output`, or one checkpoint more
    deeply."""
    parts = key.split("/")
    depth = 5 if len(parts) > 3 and parts[3] == "checkpoints" else 4
    return "/".join(parts[:depth]) if len(parts) > depth else None
