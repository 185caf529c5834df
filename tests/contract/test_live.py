"""The contract suite on a live cloud: set NEUTRINO_TEST_STORE to the address of a prefix that may be written to."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from cloud_adapters.artifacts import list_keys
from cloud_adapters.base import ObjectStore
from cloud_adapters.registry import open_store
from cloud_adapters.testing import StoreContract

ADDRESS = os.environ.get("NEUTRINO_TEST_STORE", "")


@pytest.mark.skipif(not ADDRESS, reason="NEUTRINO_TEST_STORE is not set")
class TestLive(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[ObjectStore]:
        address, _, options = ADDRESS.partition("?")
        store = open_store(f"{address}/{uuid.uuid4().hex}" + (f"?{options}" if options else ""))
        yield store
        for key in list(list_keys(store, "")):
            store.delete(key)
