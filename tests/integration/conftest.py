"""What the tests of the store and of the scheduler share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.store.session import Database
from tests.integration.store.plane import Plane


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database of the test's own."""
    database = Database(database_url, pool_size=30)
    yield database
    database.close()


@pytest.fixture
def plane(database: Database) -> Plane:
    """A control plane with one pool, `local`."""
    plane = Plane(database)
    plane.pool()
    return plane
