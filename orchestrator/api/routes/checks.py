"""Checks that touch the real thing, for `neutrino doctor`."""

from __future__ import annotations

import secrets
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from threading import Lock

from fastapi import APIRouter

from cloud_adapters.base import ObjectStore
from cloud_adapters.errors import AccessDenied, ObjectNotFound
from cloud_adapters.retrying import read_whole
from orchestrator.api.auth import Submitter
from orchestrator.api.dependencies import Db
from orchestrator.api.outside import apart, reach
from orchestrator.domain.checks import StoreCheck
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.places import StoreView
from orchestrator.domain.views import Page
from orchestrator.store import places

router = APIRouter(prefix="/v1", tags=["operations"])

_PATIENCE_SECONDS = 15.0
_CONTENT = b"Neutrino looks whether it can write, read and delete here."

_looks: dict[StoreView, Future[StoreCheck]] = {}
_lock = Lock()


@router.post("/stores/check")
@apart
def check_stores(db: Db, caller: Submitter) -> Page[StoreCheck]:  # noqa: ARG001 - who may run jobs may have this written
    """Write, read and delete a small object in the store of each pool, with the API's credentials."""
    with db.transaction() as connection:
        stores = places.stores(connection)
    looks = [(store, _begun(store)) for store in stores]
    return Page(items=tuple(_outcome(store, look) for store, look in looks))


def _begun(store: StoreView) -> Future[StoreCheck]:
    """The look at a store that is under way, or a new one: a store that hangs holds one thread, however often asked."""
    with _lock:
        look = _looks.get(store)
        if look is None or look.done():
            hand = ThreadPoolExecutor(1, thread_name_prefix="check")
            look = _looks[store] = hand.submit(_look, store)
            hand.shutdown(wait=False)  # it ends with its provider's timeouts
        return look


def _outcome(store: StoreView, look: Future[StoreCheck]) -> StoreCheck:
    try:
        return look.result(timeout=_PATIENCE_SECONDS)
    except TookTooLong:
        fault = f"It has not answered for {_PATIENCE_SECONDS:.0f} s."
        return StoreCheck(store=store.store, pools=store.pools, can_read=False, can_write=False, fault=fault)


def _look(wanted: StoreView) -> StoreCheck:
    """Try it. Whoever may not write may still read, which is all that the API itself needs."""
    key = f".neutrino-check/{secrets.token_hex(8)}"
    done = {"store": wanted.store, "pools": wanted.pools}
    try:
        store = reach(wanted.store)
        try:
            store.put(key, _CONTENT, create_only=True)
        except AccessDenied as error:
            _reach(store, key)
            return StoreCheck(**done, can_read=True, can_write=False, fault=error.message, hint=error.hint)
        came = read_whole(store, key, most=len(_CONTENT))
        store.delete(key)
        if came is None or bytes(came) != _CONTENT:
            return StoreCheck(
                **done, can_read=False, can_write=True, fault="It gives back other bytes than were written."
            )
    except NeutrinoError as error:
        return StoreCheck(**done, can_read=False, can_write=False, fault=error.message, hint=error.hint)
    except Exception as error:  # noqa: BLE001 - whatever a provider's library raises is what is wrong with the store
        return StoreCheck(**done, can_read=False, can_write=False, fault=f"{type(error).__name__}: {error}"[:500])
    return StoreCheck(**done, can_read=True, can_write=True)


def _reach(store: ObjectStore, key: str) -> None:
    """Ask for an object that is not there: the answer that it is not there is an answer."""
    try:
        store.head(key)
    except ObjectNotFound:
        return
