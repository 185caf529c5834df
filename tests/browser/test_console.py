"""The frame of the dashboard in a real browser, before a real stack: every page, and what operators do on it."""

from __future__ import annotations

import signal

import pytest
from playwright.sync_api import Page, expect

from orchestrator.domain.ids import decode
from tests.acceptance.site import Site, until
from tests.browser.conftest import OpenAs
from tests.browser.looks import check
from tests.storm import processes

PAGES = (
    "/",
    "/queues",
    "/workers",
    "/cost?by=label&span=24h",
    "/admin/tokens",
    "/admin/people",
    "/admin/audit?verify=1",
)
HARM = "<script>window.harm=1</script><img src=x onerror='window.harm=2'>\x1b[31mred\x1b]0;title\x07\u202eesrever"


@pytest.mark.parametrize("pages", [PAGES[:4], PAGES[4:]], ids=["everybody's", "admins'"])
def test_every_page_is_readable_in_light_and_in_dark_on_a_phone(site: Site, page: Page, pages: tuple[str, ...]) -> None:
    site.ended(site.run("bash", "-c", "exit 3"), site.run("true", labels={"team": "vision"}))
    for path in pages:
        check(page, site.stack.url + path)


def test_hostile_texts_are_shown_and_do_nothing(site: Site, page: Page) -> None:
    job = site.run("bash", "-c", "exit 4")
    site.ended(job)
    number = decode("j", job.id)
    site.sql("UPDATE jobs SET message = %s, name = %s, user_name = %s WHERE id = %s", HARM, HARM, HARM, number)
    site.sql("UPDATE tokens SET user_name = %s WHERE name = 'bootstrap-worker'", HARM)
    site.sql("INSERT INTO components (name, kind, detail, ok) VALUES (%s, 'store', %s, false)", HARM[:40], HARM)
    for path in ("/", "/admin/tokens", "/cost?by=user"):
        page.goto(site.stack.url + path)
        expect(page.locator("main")).to_contain_text("<script>window.harm=1</script>")
        assert page.evaluate("window.harm") is None
        assert page.locator("main script, main img[src=x]").count() == 0
    site.sql("DELETE FROM components WHERE detail = %s", HARM)


def test_what_changes_is_shown_without_a_reload(site: Site, page: Page) -> None:
    page.goto(site.stack.url)
    expect(page.locator("#live-state")).to_have_attribute("data-state", "on")
    page.evaluate("window.sameDocument = true")
    job = site.run("bash", "-c", "exit 77")
    site.ended(job)
    expect(page.locator(".concerns")).to_contain_text(job.id)
    assert page.evaluate("window.sameDocument")


@pytest.mark.fault
def test_a_stream_that_says_nothing_is_called_stale_until_it_speaks_again(site: Site, open_as: OpenAs) -> None:
    page = open_as(forgive=("htmx:error",))  # a part that was being fetched comes too late
    page.clock.install()
    page.goto(site.stack.url)
    expect(page.locator("#live-state")).to_have_attribute("data-state", "on")
    api = site.service("api")
    assert processes.send(api, signal.SIGSTOP)
    try:
        page.clock.fast_forward(12_000)
        expect(page.locator("#stale")).to_be_visible()
        expect(page.locator("#stale")).to_contain_text("The live stream is down.")
    finally:
        assert processes.send(api, signal.SIGCONT)
    expect(page.locator("#stale")).to_be_hidden()


def test_pages_work_without_javascript(site: Site, open_as: OpenAs) -> None:
    page = open_as("operator", java_script_enabled=False)
    for name in ("Overview", "Queues", "Workers", "Cost"):
        page.get_by_role("link", name=name, exact=True).first.click()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("button", name="Dark theme").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("select[name=by]").select_option("user")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("main")).to_contain_text("by user")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()


def test_signing_in_with_a_token_goes_where_one_wanted_to_go(site: Site, open_as: OpenAs) -> None:
    page = open_as(forgive=("401",))
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{site.stack.url}/workers")
    page.get_by_label("Token").fill("nu_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_contain_text("unknown, expired or revoked")
    page.get_by_label("Token").fill(site.stack.admin_token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{site.stack.url}/workers")


def test_the_keyboard_walks_and_helps(site: Site, page: Page) -> None:
    page.goto(f"{site.stack.url}/workers")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("q")
    expect(page).to_have_url(f"{site.stack.url}/queues")


def test_an_admin_makes_a_token_sees_it_once_and_revokes_it(site: Site, page: Page) -> None:
    page.goto(f"{site.stack.url}/admin/tokens")
    page.get_by_label("Name").fill("nightly")
    page.get_by_label("For", exact=True).fill("ada")
    page.get_by_role("button", name="Create").click()
    secret = page.locator(".notice code").inner_text()
    assert secret.startswith("nu_")
    page.goto(f"{site.stack.url}/admin/tokens")
    assert secret not in page.content()
    page.on("dialog", lambda dialog: dialog.accept())
    row = page.get_by_role("row", name="nightly")
    row.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("Revoked")
    page.get_by_role("link", name="Audit log").click()
    expect(page.locator("tbody tr").first).to_contain_text("revoke_token")


def test_a_price_makes_a_cost(site: Site, page: Page) -> None:
    page.goto(f"{site.stack.url}/queues")
    page.get_by_role("textbox", name="local").fill("3600")
    page.get_by_role("button", name="Set").click()
    site.ended(site.run("true"))
    page.goto(f"{site.stack.url}/cost?span=90d&by=kind")  # which nobody has looked at: sums are kept for some seconds
    expect(page.locator(".tile b").first).not_to_have_text("$0.00", timeout=1)
    expect(page.locator("svg.chart rect").first).to_be_attached()


def test_a_viewer_sees_no_button_and_an_operator_drains_a_worker(site: Site, open_as: OpenAs) -> None:
    viewer = open_as("viewer")
    viewer.goto(f"{site.stack.url}/workers")
    expect(viewer.locator("tbody tr").first).to_contain_text("local-1")
    assert viewer.get_by_role("button", name="Drain").count() == 0
    operator = open_as("operator")
    operator.on("dialog", lambda dialog: dialog.accept())
    operator.goto(f"{site.stack.url}/workers")
    before = site.service("worker-1")
    operator.get_by_role("button", name="Drain").first.click()
    site.restarted("worker-1", before)
    until(lambda: any(worker.online and not worker.draining for worker in site.client.workers.list()))


@pytest.mark.fault
def test_without_redis_and_without_the_store_every_page_answers_and_says_so(site: Site, page: Page) -> None:
    redis = site.service("redis")
    store = site.stack.data_dir / "store"
    away = store.rename(store.with_name("store-away"))
    assert processes.send(redis, signal.SIGSTOP)  # worse than dead: connections open and nothing answers
    try:
        page.goto(site.stack.url)
        expect(page.locator(".concerns")).to_contain_text("the broker has not answered")
        for path in PAGES:
            answer = page.goto(site.stack.url + path)
            assert answer is not None
            assert answer.status == 200
        page.goto(site.stack.url)
        expect(page.locator(".concerns")).to_contain_text("broker has not answered")
    finally:
        away.rename(store)
        assert processes.send(redis, signal.SIGCONT)
    expect(page.locator(".concerns")).not_to_contain_text("broker")
