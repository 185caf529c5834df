"""Alerts and the dashboard speak PromQL, and only of metrics that somebody exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from orchestrator import metrics
from orchestrator.store import gauges
from orchestrator.store.session import Database
from tests.helm.chart import CHART, rendered

RULES: dict[str, Any] = yaml.safe_load((CHART / "files/rules.yaml").read_text("utf-8"))
DASHBOARD: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text("utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


def _expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS)
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])


@pytest.mark.parametrize("expression", list(_expressions()))
def test_expressions_are_well_formed(expression: str) -> None:
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def test_every_metric_that_is_named_is_exported(database_url: str) -> None:
    database = Database(database_url)
    with database.transaction() as connection:
        text = metrics.exposition(gauges.read(connection)).decode()
    database.close()
    families = list(text_string_to_metric_families(text))
    exported = {family.name for family in families} | {sample.name for family in families for sample in family.samples}
    named = {name for one in _expressions() for name in re.findall(r"\bneutrino_\w+", one)}
    assert len(named) > 8
    assert [name for name in named if not {name, re.sub(r"_(total|bucket|count)$", "", name)} & exported] == []


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    assert all(rule["labels"]["severity"] in {"warning", "critical"} for rule in ALERTS)
    assert all({"summary", "description"} <= rule["annotations"].keys() for rule in ALERTS)
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)


def test_the_release_carries_them_as_they_are() -> None:
    release = rendered("everything")
    assert release.one("PrometheusRule", "neutrino")["spec"] == RULES
    assert json.loads(release.one("ConfigMap", "neutrino-dashboard")["data"]["neutrino.json"]) == DASHBOARD


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert all(p["x"] + p["w"] <= 24 for p in places)
