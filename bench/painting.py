"""How soon a person sees a page: the largest paint in Chromium with an empty cache, and what its console says."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from bench.figures import Figure
from orchestrator.sdk.client import Client

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run")
_PAGES = ("/", "/jobs", "/models", "/queues", "/workers", "/cost", "/admin/tokens", "/admin/people", "/admin/audit")
_OF_A_JOB = ("", "/log", "/metrics", "/spec")
_TIMES = 5
_SETTLED_MS = 700
"""For so long after its loading a page may still paint something larger."""
_LARGEST = """() => new Promise((done) =>
  new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
    .observe({type: "largest-contentful-paint", buffered: true}))"""


def figures(url: str, token: str) -> list[Figure]:
    """The slowest page's median. Empty where there is no Chromium."""
    with _chromium() as browser:
        if browser is None:
            return []
        with Client(url, token) as client:
            job = next(iter(client.jobs.list(limit=1)), None)
            pages = (*_PAGES, *(f"/jobs/{job.id}{part}" for part in _OF_A_JOB if job))
            seen = {path: [_look(browser, client, url, path) for _ in range(_TIMES)] for path in pages}
    took = {path: statistics.median(paint for paint, _ in looks) for path, looks in seen.items()}
    complaints = sum(count for looks in seen.values() for _, count in looks)
    slow = max(took, key=lambda path: took[path])
    for path, milliseconds in took.items():
        print(f"{path:24} {milliseconds:6.0f} ms", file=sys.stderr)
    return [
        Figure("largest paint, slowest page", f"{took[slow]:.0f} ms", slow, None, "< 1000 ms", took[slow] < 1000),
        Figure("lines in the consoles", str(complaints), f"{len(pages)} pages", None, "0", complaints == 0),
    ]


@contextmanager
def _chromium() -> Iterator[Browser | None]:
    found = os.environ.get("NEUTRINO_CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if found is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_OPTIONS))
        yield browser
        browser.close()


def _look(browser: Browser, client: Client, url: str, path: str) -> tuple[float, int]:
    """Milliseconds to the largest paint of a page, and how many lines its console has."""
    context = browser.new_context()
    context.request.get(url + client.sign_in_link().path)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(url + path)
    page.wait_for_timeout(_SETTLED_MS)
    took: float = page.evaluate(_LARGEST)
    context.close()
    return took, len(said)
