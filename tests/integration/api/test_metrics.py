"""What Prometheus scrapes is true, and names nobody."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.api.client import Api


def scrape(api: Api, role: str = "worker") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = api("GET", "/metrics", role)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0.0)


def test_jobs_are_counted_by_state_and_moves_by_reason(api: Api) -> None:
    before = scrape(api)
    kept, cancelled = api.submit(), api.submit()
    assert api("POST", f"/v1/jobs/{cancelled}/cancel").status_code < 300
    after = scrape(api)
    assert value(after, "neutrino_jobs", state="QUEUED") == 1
    assert value(after, "neutrino_queue_oldest_seconds") > 0
    moves = {"target": "CANCELLED", "reason": "cancelled_by_user"}
    name = "neutrino_job_transitions_total"
    assert value(after, name, **moves) - value(before, name, **moves) == 1
    ends = "neutrino_job_lifetime_seconds_count"
    assert value(after, ends, state="CANCELLED") - value(before, ends, state="CANCELLED") == 1
    assert kept not in api("GET", "/metrics").text


def test_workers_and_slots_are_counted_by_pool(api: Api) -> None:
    api.worker()
    found = scrape(api)
    assert value(found, "neutrino_pool_workers", pool="local") == 1
    assert value(found, "neutrino_pool_slots", pool="local") == 4


def test_requests_are_timed_by_route_and_not_by_path(api: Api) -> None:
    job = api.submit()
    api("GET", f"/v1/jobs/{job}")
    api("GET", "/nowhere/at/all")
    api("BREW", "/v1/jobs")
    found = scrape(api)
    count = "neutrino_http_request_seconds_count"
    assert value(found, count, method="GET", route="/v1/jobs/{job_id}", status="200") >= 1
    assert value(found, count, method="GET", route="unmatched", status="404") >= 1
    labels = {value for _, pairs in found for _, value in pairs}
    assert not {job, f"/v1/jobs/{job}", "/nowhere/at/all", "BREW"} & labels


@pytest.mark.parametrize("role", ["viewer", "submitter", "operator", "admin", "worker"])
def test_any_token_of_a_person_or_worker_may_scrape(api: Api, role: str) -> None:
    assert value(scrape(api, role), "neutrino_jobs", state="RUNNING") == 0


def test_nobody_may_without_a_token(api: Api) -> None:
    assert api("GET", "/metrics", None).status_code == 401
