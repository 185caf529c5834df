"""Services answer in more ways than their emulators do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from cloud_adapters.base import MIB
from cloud_adapters.errors import CopyAbandoned
from cloud_adapters.providers import azure
from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore, read_whole
from tests.contract.conftest import Servers
from tests.contract.faulty import Exchange, Faults, Verdict, faulty
from tests.contract.servers import make_bucket


@pytest.fixture(params=["aws", "gcp", "azure"])
def odd(request: pytest.FixtureRequest, running: Servers) -> Iterator[tuple[RetryingStore, Faults]]:
    """A store behind a proxy."""
    with faulty(running.origin(request.param)) as (origin, faults):
        yield open_store(make_bucket(request.param, origin, f"b{os.urandom(8).hex()}")), faults


def test_a_body_whose_length_is_not_told_is_read_to_its_end(odd: tuple[RetryingStore, Faults]) -> None:
    store, faults = odd
    store.put("key", b"fifteen bytes..")
    store.put("empty", b"")
    faults.after = lambda exchange: Verdict(chunked=True) if exchange.method == "GET" else None
    with store.open("key") as reader:
        assert reader.size is None
    assert read_whole(store, "key", most=15) == bytearray(b"fifteen bytes..")
    assert read_whole(store, "key", most=14) is None
    assert read_whole(store, "empty", most=14) == bytearray()
    part = bytearray(5)
    store.read_into("key", memoryview(part), start=3)
    assert part == b"teen "


def test_who_may_not_look_at_the_bucket_may_delete_what_is_not_there(odd: tuple[RetryingStore, Faults]) -> None:
    """A service account for objects only, or a SAS of a container: the bucket itself is closed to them."""
    store, faults = odd
    of_the_bucket = re.compile(r"/storage/v1/b/[^/?]+(\?.*)?|.*restype=container(?!&comp=list).*")
    faults.before = lambda exchange: (
        Verdict(403, "AuthorizationFailure") if of_the_bucket.fullmatch(exchange.path) else None
    )
    store.delete("nothing/here")
    upload = store.start_upload("large", part_size=5 * MIB)
    store.finish_upload(upload, [store.put_part(upload, 1, b"part")])
    assert store.head("large").size == 4


def test_a_copy_inside_azure_that_does_not_end_is_joined_and_given_up(
    running: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure, "_COPY_POLL_S", 0.001)
    with faulty(running.origin("azure")) as (origin, faults):
        store = open_store(make_bucket("azure", origin, f"b{os.urandom(8).hex()}"))
        store.retry = Retry(base_s=0.001)
        store.put("from", b"bytes")
        store.copy_from(store, "from", "to")
        begun, asked, aborted = [0], [0], [0]

        def pending(exchange: Exchange) -> Verdict | None:
            """The first copy begins, and its answer is lost; what was begun ends after some questions, or never."""
            if "x-ms-copy-source" in exchange.headers:
                begun[0] += 1
                return Verdict(500) if begun[0] == 1 else Verdict(409, "PendingCopyOperation")
            if "comp=copy" in exchange.path:
                aborted[0] += 1
                return Verdict(204)
            asked[0] += exchange.method == "HEAD"
            return None

        def still(exchange: Exchange, header: dict[str, str]) -> None:
            if exchange.method == "HEAD" and asked[0] < 5:
                header["x-ms-copy-status"] = "pending"

        faults.before, faults.headers = pending, still
        assert store.copy_from(store, "from", "to").size == 5
        assert (begun[0], aborted[0]) == (2, 0)
        assert asked[0] >= 5
        asked[0] = -(10**9)
        monkeypatch.setattr(azure, "_COPY_LIMIT_S", 0.05)
        with pytest.raises(CopyAbandoned, match="took more than"):
            store.copy_from(store, "from", "to")
        assert aborted[0] == 1
