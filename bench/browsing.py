"""The dashboard at a million jobs, as a browser asks for it: every search in every order, and every other page."""

from __future__ import annotations

import time

import httpx

from bench.figures import Figure, percentile
from orchestrator.sdk.client import Client
from orchestrator.store.browse import SORTINGS
from orchestrator.store.cost import BY

# Among them words, and filters that hardly overlap or exclude each other.
_SEARCHES = (
    "",
    "state:failed",
    "state:failed state:cancelled",
    "state:running",
    "77",
    "4999",
    "name:job-77",
    "team=team-3",
    "rare=r3",
    "team=team-3 half=yes",
    "user:user-7",
    "kind:train",
    "pool:local",
    "reason:oom",
    "reason:succeeded",
    "state:failed team=team-3",
    "kind:train team=team-3",
    "77 user:user-3",
)
_PAGES = (
    "/",
    "/queues",
    "/workers",
    "/models",
    "/cost?span=24h",
    *(f"/cost?span=90d&by={by}" for by in BY),
    "/admin/tokens",
    "/admin/people",
    "/admin/audit",
)
_TIMES = 3


def figures(url: str, token: str, rows: int) -> list[Figure]:
    """p50 and p95 of whole pages with their facets, and the slowest search by its median."""
    with Client(url, token) as sdk, httpx.Client(base_url=url, timeout=60) as client:
        client.get(sdk.sign_in_link().path)
        took = {
            (search, sort): _took(client, "/jobs", q=search, sort=sort) for search in _SEARCHES for sort in SORTINGS
        }
        pages = {path: max(_took(client, path)) for path in _PAGES}
    every = [each for times in took.values() for each in times]
    slowest = max(took, key=lambda asked: percentile(took[asked], 0.5))
    slow = max(pages, key=lambda path: pages[path])
    p50, p95, worst = percentile(every, 0.5), percentile(every, 0.95), percentile(took[slowest], 0.5)
    return [
        Figure(f"dashboard's list at {rows:,} jobs, p50", f"{p50:.1f} ms", f"{len(took)} searches and orders"),
        Figure("dashboard's list, p95", f"{p95:.1f} ms", "", None, "< 100 ms", p95 < 100),
        Figure("dashboard's list, slowest search", f"{worst:.1f} ms", f"{slowest[0]!r}, {slowest[1]}"),
        Figure("dashboard's other pages, slowest", f"{pages[slow]:.1f} ms", slow, None, "< 100 ms", pages[slow] < 100),
    ]


def _took(client: httpx.Client, path: str, **query: str) -> list[float]:
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        client.get(path, params=query or None).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return times
