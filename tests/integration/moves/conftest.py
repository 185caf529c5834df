"""Three clouds for these tests; they share them, since they take long to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import NewStackFolder
from tests.integration.moves.clouds import Clouds, three_clouds


@pytest.fixture(scope="package")
def clouds(new_stack_folder: NewStackFolder) -> Iterator[Clouds]:
    with three_clouds(new_stack_folder("moves")) as up:
        yield up
