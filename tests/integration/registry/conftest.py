"""Three clouds for these tests, in which what was moved away is deleted at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import NewStackFolder
from tests.integration.moves.clouds import Clouds, three_clouds


@pytest.fixture(scope="package")
def clouds(new_stack_folder: NewStackFolder) -> Iterator[Clouds]:
    """A stack, a store of each protocol, and a worker in each cloud's pool."""
    settings = {"NEUTRINO_STALE_SECONDS": "0", "NEUTRINO_LEASE_SECONDS": "8"}
    with three_clouds(new_stack_folder("registry"), settings=settings) as clouds:
        yield clouds
