"""What attempts have cost: shared out over days, by what they ran on and whose they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.store import cost, pools
from orchestrator.store.session import Database
from tests.integration.api.client import DOCUMENT, Api
from tests.integration.dashboard.conftest import SignIn

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
_ATTEMPT = """
    INSERT INTO attempts (job_id, epoch, worker_id, pool_id, state, reason, token_hash, started_at, finished_at)
    SELECT %(job)s, 1, w.id, w.pool_id, 'SUCCEEDED', 'succeeded', sha256('x'), %(began)s, %(ended)s FROM workers w
"""


@pytest.fixture(scope="module")
def workspace(api: Api, database: Database) -> int:
    """Ada's job ran from 22:00 to 02:00 over yesterday's end, on two nodes of a pool that costs 3 dollars."""
    api.worker()
    document = {**DOCUMENT, "metadata": {"name": "long", "labels": {"team": "vision"}}}
    document["spec"] = {**DOCUMENT["spec"], "resources": {"nodes": 2}}
    api.submit(json=document)
    with database.transaction() as connection:
        pools.set_price(connection, "local", 3.0)
        job, found = connection.exec_driver_sql("SELECT id, workspace_id FROM jobs").one()
        yesterday = TODAY - timedelta(days=1)
        span = {"job": job, "began": yesterday - timedelta(hours=2), "ended": yesterday + timedelta(hours=2)}
        connection.exec_driver_sql(_ATTEMPT, span)
    return int(found)


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("workspace", "vision"),
        ("cloud", "local"),
        ("pool", "local"),
        ("user", "ada"),
        ("kind", "Command"),
        ("job", "long"),
        ("label", "vision"),
    ],
)
def test_hours_and_dollars_are_shared_out_over_days(database: Database, workspace: int, by: str, key: str) -> None:
    with database.transaction() as connection:
        since = TODAY - timedelta(days=7)
        rows = cost.spent(connection, workspace, since=since, unit="day", by=by, label="team")
    assert [(row.at, row.key, row.hours, row.usd, row.attempts) for row in rows] == [
        (TODAY - timedelta(days=2), key, 4.0, 12.0, 1),
        (TODAY - timedelta(days=1), key, 4.0, 12.0, 0),
    ]


def test_what_began_before_the_span_counts_from_its_beginning(database: Database, workspace: int) -> None:
    with database.transaction() as connection:
        since = TODAY - timedelta(days=1, hours=1)
        rows = cost.spent(connection, workspace, since=since, unit="hour", by="pool")
        assert sum(row.usd for row in rows) == pytest.approx(18.0)
        assert cost.today(connection, workspace).usd == 0.0
        assert cost.label_keys(connection, workspace) == ["team"]


def test_the_page_shows_them_to_the_workspace_alone(workspace: int, sign_in: SignIn) -> None:
    assert "$24.00" in sign_in("viewer").get("/cost?by=user&span=7d").text
    assert "$24.00" not in sign_in("stranger").get("/cost?by=user&span=7d").text


def test_all_workspaces_are_for_admins_of_the_installation(workspace: int, sign_in: SignIn) -> None:
    admin, stranger = sign_in("admin"), sign_in("stranger")
    page = admin.get("/cost?by=workspace&span=7d")
    assert "by workspace" in page.text
    assert "$24.00" in page.text
    assert stranger.get("/cost?by=workspace&span=7d").status_code == 403
    assert "by pool" in sign_in("operator").get("/cost?by=workspace&span=7d").text
