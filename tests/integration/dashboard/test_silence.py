"""A database that hangs: its processes are stopped, and the kernel goes on taking every byte for them."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest
from sqlalchemy import text

from orchestrator.domain.errors import ServerUnavailable
from orchestrator.embedded.postgres import Postgres
from orchestrator.server import Front
from orchestrator.store import pulse
from orchestrator.store.session import Database
from tests.integration.api.client import Api, serve

PAGES = ["/", "/jobs", "/jobs/j-1", "/models", "/queues", "/workers", "/cost", "/admin/people", "/admin/audit"]


@contextmanager
def hanging(server: Postgres) -> Iterator[None]:
    """The server with all of its backends, stopped; those that begin are stopped with the one that begins them."""
    assert server.running_pid is not None
    postmaster = psutil.Process(server.running_pid)
    postmaster.suspend()
    backends = postmaster.children(recursive=True)
    _send(backends, signal.SIGSTOP)
    try:
        yield
    finally:
        _send([*backends, postmaster], signal.SIGCONT)


def _send(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a backend may end at any time
            process.send_signal(number)


@pytest.fixture
def hasty(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database, for whom soon asks whether it still answers."""
    monkeypatch.setattr(pulse, "_CONNECT_SECONDS", 2)
    database = Database(database.url.render_as_string(hide_password=False), patience=0.2)
    yield database
    database.close()


@pytest.mark.fault
def test_while_the_database_hangs_every_page_says_so_and_afterwards_all_goes_on(
    postgres_server: Postgres, hasty: Database, api: Api
) -> None:
    with serve(Front(hasty)) as url, httpx.Client(base_url=url, timeout=120) as browser:
        assert browser.post("/login", data={"token": api.tokens["admin"]}).status_code == 303
        machine = {"Authorization": f"Bearer {api.tokens['admin']}"}
        with hanging(postgres_server):
            for page in PAGES:
                answer = browser.get(page)
                assert (answer.status_code, page) == (503, page)
                assert "The database does not answer." in answer.text
                assert "What was accepted is safe." in answer.text
            for path in ("/v1/jobs", "/metrics", "/readyz"):
                answer = browser.get(path, headers=machine)
                assert answer.status_code == 503
                assert answer.json()["detail"] == "The database does not answer."
            assert browser.get("/healthz").status_code == 200
        deadline = time.monotonic() + 60
        while (status := browser.get("/jobs").status_code) != 200:
            assert status == 503
            assert time.monotonic() < deadline
        assert browser.get("/readyz").status_code == 200


@pytest.mark.fault
def test_a_statement_under_way_when_the_database_hangs_is_given_up(postgres_server: Postgres, hasty: Database) -> None:
    ends: list[Exception] = []

    def wait() -> None:
        try:
            with hasty.transaction() as connection:
                connection.execute(text("SELECT pg_sleep(600)"))
        except ServerUnavailable as error:
            ends.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    busy = text("SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep' AND state = 'active'")
    while True:
        with hasty.transaction() as connection:
            if connection.execute(busy).scalar_one():
                break
    with hanging(postgres_server):
        thread.join(timeout=120)
    assert len(ends) == 1


def test_a_statement_that_only_takes_long_is_waited_for(hasty: Database) -> None:
    with hasty.transaction() as connection:
        assert connection.execute(text("SELECT 'done' FROM pg_sleep(0.6)")).scalar_one() == "done"
