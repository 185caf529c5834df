"""The audit log: an entry for every action, none without one, and no way to rewrite it unseen."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy.exc import DBAPIError

from orchestrator.store import audit
from orchestrator.store.session import Database
from tests.integration.api.client import Api
from tests.integration.dashboard.conftest import SignIn, csrf


def _entries(api: Api, role: str = "admin") -> list[tuple[str, str, str, str]]:
    items = api("GET", "/v1/audit", role, params={"limit": 1000}).json()["items"]
    return [(each["actor"], each["via"], each["action"], each["target"]) for each in items]


def test_actions_through_the_api_and_the_dashboard_leave_an_entry_and_looks_and_refusals_none(
    api: Api, sign_in: SignIn
) -> None:
    job = api.submit()
    api("POST", f"/v1/jobs/{job}/cancel")
    token = api("POST", "/v1/tokens", json={"name": "made", "user": "ada", "role": "viewer"}).json()
    api("DELETE", f"/v1/tokens/{token['id']}")
    assert api("POST", f"/v1/jobs/{job}/cancel", "viewer").status_code == 403
    assert api("POST", "/v1/jobs/j-zzzzz/cancel").status_code == 404
    assert api("POST", "/v1/tokens/x").status_code == 405
    api("GET", "/v1/jobs")
    admin = sign_in("admin")
    admin.post("/queues/local/price", data={"csrf": csrf(admin), "usd_per_hour": "1.5"})
    assert _entries(api) == [
        ("ada", "dashboard", "set_pool_price", "local"),
        ("ada", "dashboard", "sign_in", ""),
        ("ada", "api", "revoke_token", token["id"]),
        ("ada", "api", "create_token", f"{token['id']} made (viewer) for ada"),
        ("ada", "api", "cancel", job),
        ("ada", "api", "submit", job),
    ]
    assert token["token"] not in api("GET", "/v1/audit").text
    assert api("GET", "/v1/audit", "operator").status_code == 403


def test_what_is_done_to_many_jobs_names_each_that_it_was_done_to(api: Api, sign_in: SignIn) -> None:
    jobs = [api.submit() for _ in range(80)]
    ended = jobs.pop()
    api("POST", f"/v1/jobs/{ended}/cancel")
    admin = sign_in("admin")
    form = {"csrf": csrf(admin), "action": "cancel", "job": " ".join([*jobs, ended])}
    assert admin.post("/jobs/bulk", data=form).status_code == 303
    entry = api("GET", "/v1/audit", params={"limit": 1}).json()["items"][0]
    assert (entry["action"], entry["detail"]) == ("many", {"jobs": jobs})
    assert entry["target"].startswith("cancel 79: ")
    assert api("GET", "/v1/audit/verify").json()["brokenAt"] is None


def test_a_request_sent_twice_leaves_one_entry_and_workers_leave_none(api: Api) -> None:
    before = len(_entries(api))
    for _ in range(3):
        api.submit(headers={"Idempotency-Key": "audited-once"})
    api.worker()
    assert len(_entries(api)) == before + 1


def test_many_at_once_make_one_whole_chain(api: Api) -> None:
    before = len(_entries(api))
    threads = [threading.Thread(target=api.submit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = api("GET", "/v1/audit/verify").json()
    assert (verdict["entries"], verdict["brokenAt"]) == (before + 20, None)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit", "TRUNCATE audit", "DELETE FROM audit WHERE seq = 1"],
)
def test_the_database_refuses_to_rewrite_it(api: Api, database: Database, statement: str) -> None:
    api.submit()
    with pytest.raises(DBAPIError, match="append-only"), database.transaction() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("forgery", "broken_at"),
    [
        ("UPDATE audit SET target = 'j-00000' WHERE workspace_id = {w} AND seq = 2", 2),
        ("DELETE FROM audit WHERE workspace_id = {w} AND seq = 3", 3),
        ("DELETE FROM audit USING audit_heads h WHERE (h.workspace_id, h.seq) = ({w}, audit.seq)", -1),
        ("UPDATE audit SET seq = seq + 1000 WHERE workspace_id = {w} AND seq = 1", 1),
    ],
)
def test_whoever_rewrites_it_all_the_same_is_found(api: Api, database: Database, forgery: str, broken_at: int) -> None:
    for _ in range(4):
        api.submit()
    before = api("GET", "/v1/audit/verify").json()["entries"]
    with database.engine.connect() as connection:
        own = connection.exec_driver_sql("SELECT id FROM workspaces WHERE name = 'vision'").scalar_one()
        connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
        connection.exec_driver_sql(forgery.format(w=own))
        try:
            verdicts = [audit.verify(connection, own)]
            in_parts = audit.verify(connection, own, limit=2)
            while in_parts.next is not None:
                in_parts = audit.verify(connection, own, in_parts.next, 2)
            verdicts.append(in_parts)
        finally:
            connection.rollback()
    assert [each.broken_at for each in verdicts] == [before if broken_at == -1 else broken_at] * 2
    assert api("GET", "/v1/audit/verify").json()["entries"] == before


def test_a_long_chain_is_verified_in_parts_that_each_say_how_far_they_came(
    api: Api, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        api.submit()
    admin = sign_in("admin")
    entries = api("GET", "/v1/audit/verify").json()["entries"]
    monkeypatch.setattr(audit.verify, "__defaults__", (0, entries - 1))
    part = api("GET", "/v1/audit/verify").json()
    assert (part["next"], part["brokenAt"]) == (entries - 1, None)
    assert api("GET", "/v1/audit/verify", params={"after": part["next"]}).json()["entries"] == entries
    page = admin.get("/admin/audit", params={"verify": "1"}).text
    assert f"The first {entries - 1} of {entries} entries are as they were written." in page
    assert f'hx-get="/admin/audit?verify=1&after={entries - 1}"' in page
    assert "data-live" not in page  # or each tick would compute it again
    rest = admin.get(f"/admin/audit?verify=1&after={entries - 1}", headers={"HX-Target": "div#verdict"}).text
    assert f"All {entries} entries are as they were written." in rest
    assert "<table" not in rest
