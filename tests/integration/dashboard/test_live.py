"""The live stream: told at once, only to whom it concerns, cheap for many tabs, over when the session is."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from orchestrator.domain.ids import decode
from orchestrator.store.session import Database
from tests.integration.api.client import Api
from tests.integration.dashboard.conftest import SignIn, csrf

TABS = 200


class Tab:
    """An open stream: its events as they come."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self, wanted: str) -> Any:
        """The data of the next event of this name; those before it are skipped. None at the end of the stream."""
        event = ""
        async for line in self._lines:
            if line.startswith("event:"):
                event = line.removeprefix("event:").strip()
            elif line.startswith("data:") and event == wanted:
                return json.loads(line.removeprefix("data:"))
        return None


@asynccontextmanager
async def _open(client: httpx.AsyncClient, cookies: dict[str, str]) -> AsyncIterator[Tab]:
    header = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    async with client.stream("GET", "/ui/live", headers=header) as answer:
        assert answer.status_code == 200
        tab = Tab(answer.aiter_lines())
        assert await tab.next("hello")
        yield tab


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=TABS + 10)
    return httpx.AsyncClient(base_url=url, timeout=120, limits=limits)


def test_two_hundred_tabs_hear_of_a_job_over_one_listening_connection(
    url: str, api: Api, database: Database, sign_in: SignIn
) -> None:
    cookies = dict(sign_in("viewer").cookies)

    async def watch() -> tuple[list[Any], str, int]:
        async with _client(url) as client, AsyncExitStack() as stack:
            tabs = [await stack.enter_async_context(_open(client, cookies)) for _ in range(TABS)]
            job = await asyncio.to_thread(api.submit)
            heard = await asyncio.gather(*(tab.next("changed") for tab in tabs))
            for name, value in cookies.items():
                client.cookies.set(name, value)
            assert (await client.get("/")).status_code == 200
            with database.transaction() as connection:
                statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'neutrino-listen'"
                listening = connection.exec_driver_sql(f"{statement} AND datname = current_database()").scalar_one()
            return heard, job, listening

    heard, job, listening = asyncio.run(watch())
    assert [event["jobs"] for event in heard] == [[job]] * TABS
    assert listening == 1


def test_a_tab_hears_nothing_of_another_workspace(url: str, api: Api, sign_in: SignIn) -> None:
    ours, theirs = dict(sign_in("viewer").cookies), dict(sign_in("stranger").cookies)

    async def watch() -> tuple[Any, Any, str]:
        async with _client(url) as client, _open(client, ours) as mine, _open(client, theirs) as other:
            await asyncio.to_thread(api.submit)
            first = await mine.next("changed")
            own = await asyncio.to_thread(api.submit, "stranger")
            return first, await other.next("changed"), own

    first, other, own = asyncio.run(watch())
    assert first
    assert other["jobs"] == [own]


@pytest.mark.parametrize("how", ["signed out", "revoked"])
def test_the_stream_ends_with_the_session(url: str, database: Database, sign_in: SignIn, how: str) -> None:
    browser = sign_in("operator")
    token = csrf(browser)

    async def watch() -> Any:
        async with _client(url) as client, _open(client, dict(browser.cookies)) as tab:
            if how == "signed out":
                await asyncio.to_thread(browser.post, "/logout", data={"csrf": token})
            else:
                with database.transaction() as connection:
                    connection.exec_driver_sql("UPDATE tokens SET revoked_at = now() WHERE name = 'operator'")
            said = await tab.next("bye")
            return said, await tab.next("anything more")

    assert asyncio.run(watch()) == ({}, None)


def test_a_job_that_nobody_has_submitted_is_offered_to_nobody_to_run_again(
    database: Database, api: Api, sign_in: SignIn
) -> None:
    job = api.submit()
    browser = sign_in("submitter")
    assert "Migrate</summary>" in browser.get(f"/jobs/{job}").text
    assert "Copy as YAML" in browser.get(f"/jobs/{job}/spec").text
    with database.transaction() as connection:
        connection.execute(text("UPDATE jobs SET kind = 'Transfer' WHERE id = :id"), {"id": decode("j", job)})
    assert "Migrate</summary>" not in browser.get(f"/jobs/{job}").text
    assert "Copy as" not in browser.get(f"/jobs/{job}/spec").text


def test_the_form_for_tokens_allows_what_its_pattern_says_and_refuses_in_our_words(sign_in: SignIn) -> None:
    admin = sign_in("admin")
    page = admin.get("/admin/tokens").text
    pattern = re.search(r'name="name" required pattern="([^"]+)"', page)
    assert pattern is not None
    for name in ("ci", "ci-2", "ci.prod", "ci_2", "-ci"):
        answer = admin.post("/admin/tokens", data={"csrf": csrf(admin), "name": name, "user": "ci"})
        allowed = re.fullmatch(pattern[1], name) is not None
        assert answer.status_code == (201 if allowed else 422), name
    given = {"csrf": csrf(admin), "name": "late", "user": "ci", "expires_in_days": "soon"}
    assert "must be a whole number" in admin.post("/admin/tokens", data=given).text


def test_a_part_that_is_drawn_once_for_all_holds_nobody_s_token_but_one_s_own(api: Api, sign_in: SignIn) -> None:
    api.worker()  # beside it is a button to drain it
    headers = {"HX-Request": "true", "HX-Target": "section#workers"}
    admins = [sign_in("admin"), sign_in("admin")]
    own = [csrf(admin) for admin in admins]
    parts = [admin.get("/workers", headers=headers).text for admin in admins]
    for mine, theirs, part in zip(own, reversed(own), parts, strict=True):
        assert set(re.findall(r'name="csrf" value="([^"]+)"', part)) == {mine}
        assert theirs not in part
    assert "csrf" not in sign_in("viewer").get("/workers", headers=headers).text
