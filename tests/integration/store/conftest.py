"""What several files of these tests share."""

from __future__ import annotations

import pytest

from tests.integration.store.clouds import STORES
from tests.integration.store.plane import Plane


@pytest.fixture
def workers(plane: Plane) -> dict[str, int]:
    """A worker on each cloud."""
    for cloud, store in STORES.items():
        plane.pool(cloud, cloud=cloud, store=store)
    return {cloud: plane.worker(cloud) for cloud in STORES}
