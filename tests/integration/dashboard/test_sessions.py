"""Signing in, and what a session may do: roles, forms of one's own, ends."""

from __future__ import annotations

import re

import httpx
import pytest

from orchestrator.dashboard.app import create_app
from orchestrator.store import sessions
from orchestrator.store.changes import Changes
from orchestrator.store.session import Database
from tests.integration.api.client import Api
from tests.integration.dashboard.conftest import SignIn, csrf

_OPEN = {"/login", "/ui/theme"}


@pytest.fixture(autouse=True)
def no_failures_before(database: Database) -> None:
    """Every test starts with a clean slate at the door."""
    with database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM failed_sign_ins")


def test_the_cookie_is_for_the_browser_alone_and_its_secret_is_not_in_the_database(
    url: str, api: Api, database: Database
) -> None:
    answer = httpx.post(f"{url}/login", data={"token": api.tokens["viewer"]})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    secret = answer.cookies["neutrino_session"]
    with database.transaction() as connection:
        stored = connection.exec_driver_sql("SELECT s::text FROM sessions s").scalars().all()
    assert stored
    assert secret not in "".join(stored)


@pytest.mark.parametrize("token", ["", "nu_wrong", "nt_wrong", "\x00", "é" * 200])
def test_a_wrong_token_opens_nothing(url: str, api: Api, token: str) -> None:
    answer = httpx.post(f"{url}/login", data={"token": token})
    assert answer.status_code == 401
    assert "neutrino_session" not in answer.cookies


def test_a_worker_s_token_opens_nothing(url: str, api: Api) -> None:
    assert httpx.post(f"{url}/login", data={"token": api.tokens["worker"]}).status_code == 401


def test_many_wrong_tokens_from_one_address_have_to_wait_and_right_ones_too(url: str, api: Api) -> None:
    answers = [httpx.post(f"{url}/login", data={"token": "nu_wrong"}).status_code for _ in range(sessions.FAILURES + 1)]
    assert answers == [401] * sessions.FAILURES + [429]
    assert httpx.post(f"{url}/login", data={"token": api.tokens["viewer"]}).status_code == 429


def test_a_form_of_another_site_signs_nobody_in(url: str, api: Api) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = httpx.post(f"{url}/login", data={"token": api.tokens["viewer"]}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_never_leads_to_another_host(url: str, api: Api, to: str) -> None:
    answer = httpx.post(f"{url}/login", data={"token": api.tokens["viewer"], "next": to})
    assert answer.headers["Location"] == "/"


def test_without_a_session_pages_send_to_the_form_and_parts_do_not(url: str, api: Api) -> None:
    page = httpx.get(f"{url}/workers?cursor=x")
    assert (page.status_code, page.headers["Location"]) == (303, "/login?next=%2Fworkers%3Fcursor%3Dx")
    assert httpx.get(f"{url}/workers", headers={"HX-Request": "true"}).status_code == 401
    assert httpx.get(f"{url}/ui/live").status_code == 401


def test_every_action_refuses_a_form_that_is_not_from_the_session(database: Database, sign_in: SignIn) -> None:
    admin = sign_in("admin")
    routes = create_app(database, Changes(database)).openapi()["paths"]
    actions = [path for path, methods in routes.items() if "post" in methods and path not in _OPEN]
    assert len(actions) >= 5
    for action in actions:
        path = re.sub(r"{\w+}", "x", action)
        for form in ({}, {"csrf": "wrong"}, {"csrf": "é"}):
            answer = admin.post(path, data=form)
            assert answer.status_code == 403, (path, answer.status_code)
            assert "not from your present session" in answer.text


def test_roles_stop_at_their_rung(sign_in: SignIn) -> None:
    viewer, operator = sign_in("viewer"), sign_in("operator")
    assert viewer.get("/admin/tokens").status_code == 403
    assert viewer.post("/workers/w-10000/drain", data={"csrf": csrf(viewer)}).status_code == 403
    assert operator.get("/admin/audit").status_code == 403
    assert operator.post("/queues/local/price", data={"csrf": csrf(operator), "usd_per_hour": "1"}).status_code == 403
    assert operator.post("/workers/w-10000/drain", data={"csrf": csrf(operator)}).status_code == 404  # may, but none is


def test_signing_out_makes_the_cookie_worthless(url: str, sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    cookies = dict(browser.cookies)
    assert browser.post("/logout", data={"csrf": csrf(browser)}).status_code == 303
    assert httpx.get(url, cookies=cookies).headers["Location"] == "/login"


def test_signing_in_again_ends_the_session_before(url: str, api: Api, sign_in: SignIn) -> None:
    browser = sign_in("viewer")
    before = dict(browser.cookies)
    assert browser.post("/login", data={"token": api.tokens["admin"]}).status_code == 303
    assert dict(browser.cookies) != before
    assert httpx.get(url, cookies=before).status_code == 303


def test_a_link_of_neutrino_ui_works_once(url: str, api: Api) -> None:
    path = api("POST", "/v1/sessions", "submitter").json()["path"]
    first = httpx.get(f"{url}{path}")
    assert first.status_code == 303
    assert httpx.get(url, cookies=dict(first.cookies)).status_code == 200
    assert httpx.get(f"{url}{path}").status_code == 401


def test_a_link_on_another_site_signs_nobody_in_and_a_link_of_one_s_own_ends_the_session_before(
    url: str, api: Api, sign_in: SignIn
) -> None:
    browser = sign_in("viewer")
    before = dict(browser.cookies)
    path = api("POST", "/v1/sessions", "submitter").json()["path"]
    assert browser.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert dict(browser.cookies) == before
    assert browser.get(path, headers={"Sec-Fetch-Site": "none"}).status_code == 303
    assert dict(browser.cookies) != before
    assert httpx.get(url, cookies=before).status_code == 303


def test_a_workspace_does_not_see_another_one(api: Api, sign_in: SignIn) -> None:
    secret = api.submit()
    stranger = sign_in("stranger")
    for path in ("/", "/queues", "/workers", "/cost", "/admin/tokens", "/admin/people", "/admin/audit"):
        answer = stranger.get(path)
        assert answer.status_code == 200, path
        assert secret not in answer.text, path
        assert not re.search(r"\bada\b", answer.text), path  # inside a hash it stands by chance


def test_what_the_page_may_load_is_told_to_the_browser(sign_in: SignIn) -> None:
    answer = sign_in("viewer").get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " style=" not in answer.text
    assert "<script>" not in answer.text
    assert len(answer.content) < 100_000


def test_nonsense_is_answered_with_a_page(sign_in: SignIn) -> None:
    viewer = sign_in("viewer")
    for path, status in (
        ("/nothing", 404),
        ("/workers?cursor=%25%25", 422),
        ("/workers?cursor=zzz", 422),
        ("/a%00b", 422),
    ):
        assert viewer.get(path).status_code == status, path
    assert viewer.get("/cost?span=x&by=y&label=%F0%9F%92%A9").status_code == 200


def test_an_error_never_leads_to_another_host(url: str, sign_in: SignIn) -> None:
    viewer = sign_in("viewer")
    answer = viewer.get(f"{url}//evil.example/x")
    assert answer.status_code == 404
    assert "//evil.example/x" in answer.text  # the page says what was asked for
    assert 'href="//' not in answer.text
    assert 'value="//' not in answer.text


def test_the_first_page_is_small(url: str, sign_in: SignIn) -> None:
    viewer = sign_in("viewer")
    page = viewer.get("/")
    parts = [part.split('"')[0] for part in page.text.split('"/static/')[1:]]
    sizes = [int(page.headers["Content-Length"])]
    for part in parts:
        with viewer.stream("GET", f"/static/{part}") as answer:
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            sizes.append(sum(len(chunk) for chunk in answer.iter_raw()))
    assert sum(sizes) < 100_000, dict(zip(["/", *parts], sizes, strict=True))


def test_a_revoked_token_ends_its_sessions_and_a_lower_role_is_one_at_once(
    api: Api, database: Database, sign_in: SignIn
) -> None:
    operator = sign_in("operator")
    drain = {"csrf": csrf(operator)}
    assert operator.post("/workers/w-10000/drain", data=drain).status_code == 404
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE tokens SET role = 'viewer' WHERE name = 'operator'")
    assert operator.post("/workers/w-10000/drain", data=drain).status_code == 403
    with database.transaction() as connection:
        connection.exec_driver_sql("UPDATE tokens SET revoked_at = now() WHERE name = 'operator'")
    assert operator.get("/").status_code == 303


def test_the_secret_is_replaced_now_and_then_and_the_old_one_is_good_for_a_moment(
    database: Database, sign_in: SignIn
) -> None:
    browser = sign_in("viewer")
    old = browser.cookies["neutrino_session"]
    _passes(database, sessions.ROTATE_MINUTES + 1)
    part = browser.get("/workers", headers={"HX-Request": "true", "HX-Target": "section#workers"})
    assert (part.status_code, "Set-Cookie" in part.headers) == (200, False)
    page = browser.get("/workers")
    assert "HttpOnly" in page.headers["Set-Cookie"]
    assert page.cookies["neutrino_session"] != old
    late = {"Cookie": f"neutrino_session={old}"}
    answer = httpx.get(f"{browser.base_url}/workers", headers=late)  # it was asked before the other one was answered
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (200, False)
    _passes(database, 2)
    assert httpx.get(f"{browser.base_url}/workers", headers=late).status_code == 303
    assert browser.get("/workers").status_code == 200


def _passes(database: Database, minutes: float) -> None:
    with database.transaction() as connection:
        statement = "UPDATE sessions SET rotated_at = rotated_at - %(minutes)s * interval '1 minute'"
        connection.exec_driver_sql(statement, {"minutes": minutes})
