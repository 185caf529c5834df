"""Services answer in more ways than their emulators do."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cloud_adapters.registry import open_store
from cloud_adapters.retrying import RetryingStore, read_whole
from tests.contract.conftest import Servers
from tests.contract.faulty import Faults, Verdict, faulty
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
