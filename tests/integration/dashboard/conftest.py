"""The dashboard as one process serves it, on a database of the test's own, spoken to over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
from anyio.from_thread import start_blocking_portal
from psycopg.sql import SQL, Identifier

from orchestrator.api.app import create_app
from orchestrator.embedded.postgres import Postgres
from orchestrator.server import Front
from orchestrator.store.session import Database
from tests.integration.api.client import Api, serve

SignIn = Callable[[str], httpx.Client]


@pytest.fixture(scope="module")
def database(postgres_server: Postgres, migrated_template: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated database for the tests of a file."""
    name = f"dashboard_{request.path.stem}"
    server = postgres_server.url.replace("+psycopg", "", 1)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(
            SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(migrated_template))
        )
        database = Database(f"{postgres_server.url.rpartition('/')[0]}/{name}", pool_size=20)
        yield database
        database.close()
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture(scope="module")
def url(database: Database) -> Iterator[str]:
    """The address of a real server."""
    with serve(Front(database)) as url:
        yield url


@pytest.fixture(scope="module")
def api(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A pool, a token of each role, and the API beside, for what the tests of the dashboard need done."""
    with start_blocking_portal() as portal:
        store = tmp_path_factory.mktemp("store").as_uri()
        api = Api(create_app(database), database, portal, store)
        yield api
        api.close()


@pytest.fixture
def sign_in(url: str, api: Api) -> Iterator[SignIn]:
    """Signs a browser in with the token of a role."""
    clients: list[httpx.Client] = []

    def sign_in(role: str) -> httpx.Client:
        client = httpx.Client(base_url=url, timeout=120)
        clients.append(client)
        answer = client.post("/login", data={"token": api.tokens[role]})
        assert answer.status_code == 303, answer.text
        return client

    yield sign_in
    for client in clients:
        client.close()


def csrf(client: httpx.Client, url: str = "") -> str:
    """The token that this browser's forms carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(f"{url}/").text)
    assert found is not None
    return found[1]
