"""The database is killed under load: whoever was told 202 finds the job, everybody else was told to come again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

import pytest
from anyio.from_thread import BlockingPortal

from orchestrator.api.app import create_app
from orchestrator.embedded.postgres import Postgres
from orchestrator.store.session import Database
from tests.conftest import NewStackFolder
from tests.integration.api.client import DOCUMENT, Api

CLIENTS = 4
AFTERWARDS = 20  # submits that each client must get through once the database is back


@pytest.mark.fault
def test_kill_9_of_the_database_is_a_503_and_never_a_false_202(
    new_stack_folder: NewStackFolder, portal: BlockingPortal
) -> None:
    with Postgres(new_stack_folder("killed") / "postgres") as server:
        database = Database(server.url, pool_size=CLIENTS)
        api = Api(create_app(database), database, portal, "file:///srv/neutrino")
        accepted: list[str] = []
        statuses: Counter[int] = Counter()
        killed = threading.Event()
        deadline = time.monotonic() + 120

        def client(number: int) -> None:
            after = count = 0
            while after < AFTERWARDS:
                assert time.monotonic() < deadline
                count += 1
                answer = api("POST", "/v1/jobs", json=DOCUMENT, headers={"Idempotency-Key": f"{number}-{count}"})
                statuses[answer.status_code] += 1
                if answer.status_code == 202:
                    accepted.append(answer.json()["id"])
                    after += killed.is_set() and 503 in statuses

        threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while len(accepted) < 50:
            assert time.monotonic() < deadline
        assert server.running_pid is not None
        os.kill(server.running_pid, signal.SIGKILL)
        killed.set()
        for thread in threads:
            thread.join()

        assert set(statuses) == {202, 503}
        with database.transaction() as connection:
            stored = connection.exec_driver_sql("SELECT count(*) FROM jobs").scalar_one()
        assert len(set(accepted)) == len(accepted) <= stored
        for job in accepted:
            assert api("GET", f"/v1/jobs/{job}", "viewer").json()["state"] == "QUEUED"
        api.close()
        database.close()
