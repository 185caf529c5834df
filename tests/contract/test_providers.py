"""The contract suite on every provider, each against a server that speaks its protocol."""

from __future__ import annotations

import pytest

from cloud_adapters.base import ObjectStore
from cloud_adapters.testing import StoreContract
from tests.contract.conftest import NewStore


class TestLocal(StoreContract):
    @pytest.fixture
    def store(self, new_store: NewStore) -> ObjectStore:
        return new_store("local")


class TestAws(StoreContract):
    creates_atomically = False  # moto looks first and writes then, from several threads (seen: two winners of eight)

    @pytest.fixture
    def store(self, new_store: NewStore) -> ObjectStore:
        return new_store("aws")


class TestGcp(StoreContract):
    enforces_create_only = False  # the emulator ignores ifGenerationMatch; test_gcp_conditions.py covers it
    honours_limit = False  # nor does it know maxResults

    @pytest.fixture
    def store(self, new_store: NewStore) -> ObjectStore:
        return new_store("gcp")


class TestAzure(StoreContract):
    @pytest.fixture
    def store(self, new_store: NewStore) -> ObjectStore:
        return new_store("azure")
