"""Three clouds for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.moves.clouds import Clouds, three_clouds


@pytest.fixture(scope="module")
def clouds(server_folder: Path, request: pytest.FixtureRequest) -> Iterator[Clouds]:
    with three_clouds(server_folder / request.path.stem) as up:
        yield up
