"""One server per protocol for the whole run, and a fresh bucket for every test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloud_adapters.registry import open_store
from cloud_adapters.retry import Retry
from cloud_adapters.retrying import RetryingStore
from tests.contract import servers

NewStore = Callable[[str], RetryingStore]


@pytest.fixture(scope="session", autouse=True)
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AZURE_STORAGE_KEY", servers.AZURITE_KEY)
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_CONNECTION_STRING"):
            patch.delenv(name, raising=False)
        yield


class Servers:
    """Starts each server when it is first needed."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._origins: dict[str, str] = {}

    def origin(self, kind: str) -> str:
        starters = {"aws": servers.s3_server, "gcp": servers.gcs_server, "azure": servers.azure_server}
        if kind not in self._origins:
            self._origins[kind] = self._stack.enter_context(starters[kind](self._folder))
        return self._origins[kind]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, _credentials: None) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, tmp_path_factory.mktemp("servers"))


@pytest.fixture
def new_uri(running: Servers, tmp_path: Path) -> Callable[[str], str]:
    """Makes the address of an empty store of a provider."""

    def make(kind: str) -> str:
        name = f"b{uuid.uuid4().hex[:20]}"
        if kind == "local":
            return (tmp_path / name).as_uri()
        return servers.make_bucket(kind, running.origin(kind), name)

    return make


@pytest.fixture
def new_store(new_uri: Callable[[str], str], tmp_path: Path) -> NewStore:
    """Makes an empty store of a provider, which is near: it is asked again without much waiting."""

    def make(kind: str) -> RetryingStore:
        store = open_store(new_uri(kind), file_roots=[tmp_path])
        store.retry = Retry(base_s=0.01)
        return store

    return make
