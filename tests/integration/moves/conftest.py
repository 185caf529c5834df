"""Three clouds for these tests; they share them, since they take long to start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.moves.clouds import Clouds, three_clouds


@pytest.fixture(scope="package")
def clouds(server_folder: Path) -> Iterator[Clouds]:
    with three_clouds(server_folder / "moves") as up:
        yield up
