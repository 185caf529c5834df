"""What several files of these tests share."""

from __future__ import annotations

import pytest

from orchestrator import settings
from tests.integration.store.clouds import STORES
from tests.integration.store.plane import Plane


@pytest.fixture(autouse=True)
def _usual_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks that other tests keep up in this process have shorter ones."""
    monkeypatch.delenv("NEUTRINO_LEASE_SECONDS", raising=False)
    settings.current.cache_clear()


@pytest.fixture
def workers(plane: Plane) -> dict[str, int]:
    """A worker on each cloud."""
    for cloud, store in STORES.items():
        plane.pool(cloud, cloud=cloud, store=store)
    return {cloud: plane.worker(cloud) for cloud in STORES}
