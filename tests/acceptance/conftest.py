"""One whole Neutrino for the tests of a file. After each of them, the database and the stores are audited."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest

from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from tests.acceptance.site import Site, until
from tests.conftest import NewStackFolder
from tests.storm import audit

# Short leases, so that the dead are soon found to be dead; little patience with what shall stop.
_SETTINGS = {
    "NEUTRINO_LEASE_SECONDS": "5",
    "NEUTRINO_GRACE_SECONDS": "0.5",
    "NEUTRINO_DRAIN_SECONDS": "5",
    "NEUTRINO_MAX_PROCESSES": "128",
}


@pytest.fixture(scope="module")
def whole_site(new_stack_folder: NewStackFolder, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Postgres, Redis, the API, two schedulers, two workers with four slots each."""
    with (
        mock.patch.dict("os.environ", _SETTINGS),
        Stack(new_stack_folder(request.path.stem), workers=2, schedulers=2, slots=4) as stack,
        Client(stack.url, stack.admin_token) as client,
    ):
        yield Site(stack, client)


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The site, found whole before the test; what the test leaves in it is audited."""
    until(lambda: whole_site.stack.status().ready)
    yield whole_site
    unfinished = "SELECT FROM jobs WHERE state NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
    until(lambda: not whole_site.sql(unfinished))
    assert audit.audit(audit.read(whole_site.stack.database_url)) == []
