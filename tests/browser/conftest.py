"""A browser before a whole Neutrino. One stack and one browser serve all tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from orchestrator.domain.views import CreateToken
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.client import Client
from tests.acceptance.site import Site
from tests.conftest import NewStackFolder

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_SETTINGS = {"NEUTRINO_LEASE_SECONDS": "3", "NEUTRINO_GRACE_SECONDS": "0.5", "NEUTRINO_DRAIN_SECONDS": "5"}

OpenAs = Callable[..., Page]

# How long what must happen may take on a machine that does much else; what happens at once costs no more for it.
_PATIENCE_MS = 60_000
expect.set_options(timeout=_PATIENCE_MS)


# A module and not the session: while playwright is there, an event loop runs in this thread, and no test of another
# module could have one of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, from NEUTRINO_CHROMIUM or wherever the system has it."""
    named = os.environ.get("NEUTRINO_CHROMIUM")
    found = named or next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: install it (Debian: apt-get install chromium), or name one with NEUTRINO_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(new_stack_folder: NewStackFolder, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A stack with one worker of two slots; it starts only where there is a browser."""
    with (
        mock.patch.dict("os.environ", _SETTINGS),
        Stack(new_stack_folder(f"browser-{request.path.stem}"), workers=1, schedulers=1, slots=2) as stack,
        Client(stack.url, stack.admin_token) as client,
    ):
        yield Site(stack, client)


@pytest.fixture
def open_as(browser: Browser, site: Site) -> Iterator[OpenAs]:
    """Opens a tab signed in with a role; options go to the browser's context. No tab may have written an error to its
    console when the test ends, but for answers that the test asked for (`forgive`)."""
    complaints: list[str] = []
    contexts = []

    def open_as(role: str = "admin", *, forgive: tuple[str, ...] = (), **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)

        def complain(text: str) -> None:
            if not any(word in text for word in forgive):
                complaints.append(text)

        page.on("console", lambda message: complain(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: complain(str(error)))
        made = site.client.tokens.create(
            CreateToken.model_validate({"name": f"tests-{role}", "user": role, "role": role})
        )
        with Client(site.stack.url, made.token) as client:
            page.goto(site.stack.url + client.sign_in_link().path)
        return page

    yield open_as
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(open_as: OpenAs) -> Page:
    """A tab of an admin."""
    return open_as()
