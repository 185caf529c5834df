"""What the tests of the API share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from orchestrator.api.app import create_app
from orchestrator.store.session import Database
from tests.integration.api.client import Api


@pytest.fixture(scope="package")
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread of its own."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def api(database_url: str, portal: BlockingPortal, tmp_path: Path) -> Iterator[Api]:
    """The application on a database of the test's own, with a pool and a token of each role."""
    database = Database(database_url, pool_size=20)
    api = Api(create_app(database), database, portal, (tmp_path / "store").as_uri())
    yield api
    api.close()
    database.close()
