"""The list page at a million jobs, through the API, for every filter and some combinations."""

from __future__ import annotations

import time

import httpx

from bench.figures import Figure, percentile

_FILTERS: dict[str, list[tuple[str, str]]] = {
    "no filter": [],
    "state=FAILED": [("state", "FAILED")],
    "state=RUNNING (none)": [("state", "RUNNING")],
    "two states": [("state", "FAILED"), ("state", "CANCELLED")],
    "name": [("name", "job-77")],
    "name (none)": [("name", "nobody")],
    "label, 1 in 20": [("label", "team=team-3")],
    "label, 1 in 2": [("label", "half=yes")],
    "label, 1 in 1000": [("label", "rare=r3")],
    "two labels": [("label", "team=team-3"), ("label", "half=no")],
    "user": [("user", "user-7")],
    "kind": [("kind", "Train")],
    "kind (none)": [("kind", "Tune")],
    "pool": [("pool", "local")],
    "pool (none)": [("pool", "nowhere")],
    "since (none)": [("since", "2100-01-01T00:00:00Z")],
    "state and user": [("state", "FAILED"), ("user", "user-1")],
    "state and label": [("state", "FAILED"), ("label", "team=team-3")],
}
_PAGES = 40


def _pages(client: httpx.Client, query: list[tuple[str, str]]) -> list[float]:
    """Milliseconds for each of some pages in a row, beginning again after the last one."""
    took, cursor = [], None
    for _ in range(_PAGES):
        params = httpx.QueryParams([*query, ("limit", "50"), *([("cursor", cursor)] if cursor else [])])
        began = time.perf_counter()
        answer = client.get("/v1/jobs", params=params)
        took.append((time.perf_counter() - began) * 1000)
        cursor = answer.raise_for_status().json()["next"]
    return took


def figures(url: str, token: str, rows: int) -> list[Figure]:
    """p50 and p95 over all filters, and the slowest filter by p95."""
    every: list[float] = []
    worst = ("", 0.0)
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as client:
        _pages(client, [])
        for name, query in _FILTERS.items():
            took = _pages(client, query)
            every += took
            worst = max(worst, (name, percentile(took, 0.95)), key=lambda pair: pair[1])
    p50, p95 = percentile(every, 0.5), percentile(every, 0.95)
    return [
        Figure(f"list page at {rows:,} jobs, p50", f"{p50:.1f} ms", f"{len(_FILTERS)} filters"),
        Figure("list page, p95", f"{p95:.1f} ms", "", None, "< 50 ms", p95 < 50),
        Figure("list page, slowest filter's p95", f"{worst[1]:.1f} ms", worst[0], None, "< 50 ms", worst[1] < 50),
    ]
