"""What every page has to hold: readable for everybody, light and dark, on a phone, and with nothing foreign in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

_AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
_RUN = "() => axe.run(document, {resultTypes: ['violations']})"
_SERIOUS = {"serious", "critical"}


def faults(page: Page) -> list[str]:
    """What axe finds serious or worse on the page as it is now."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(_AXE)  # from outside: the page's own policy lets no foreign script in
    found: dict[str, Any] = page.evaluate(_RUN)
    return [
        f"{violation['id']}: {violation['help']}: {[node['html'][:120] for node in violation['nodes'][:3]]}"
        for violation in found["violations"]
        if violation["impact"] in _SERIOUS
    ]


def check(page: Page, url: str) -> None:
    """Look at a page in light on a desk, and in dark on a phone."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.emulate_media(color_scheme="light")
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 200, url
    assert page.locator("h1").count() == 1
    assert not (found := faults(page)), f"{url} in light: {found}"
    page.emulate_media(color_scheme="dark")
    size = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, f"{url} is wider than a phone"
    assert not (found := faults(page)), f"{url} in dark on a phone: {found}"
    if size:
        page.set_viewport_size(size)
    host = url.split("/")[2]
    assert [each for each in asked if each.split("/")[2] != host and not each.startswith("data:")] == []
