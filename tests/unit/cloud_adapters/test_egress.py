"""The price of leaving, from the tariff file."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from cloud_adapters.egress import egress_price
from orchestrator.domain.freight import Region
from orchestrator.domain.quantities import GIB

EAST = Region("aws", "us-east-1")


@pytest.mark.parametrize(
    ("source", "destination", "size", "usd"),
    [
        (EAST, EAST, 1000 * GIB, 0.0),
        (EAST, Region("aws", "eu-west-1"), 100 * GIB, 2.0),
        (EAST, Region("gcp", "us-central1"), 100 * GIB, 9.0),
        (EAST, Region("azure"), 20480 * GIB, 10240 * 0.09 + 10240 * 0.085),
        (Region("local"), EAST, 100 * GIB, 0.0),
        (EAST, EAST, 0, 0.0),
    ],
)
def test_prices(source: Region, destination: Region, size: int, usd: float) -> None:
    assert egress_price(size, source, destination).usd == pytest.approx(usd)


def test_an_unknown_region_is_priced_at_the_highest() -> None:
    assert egress_price(GIB, Region("aws"), Region("gcp")).usd == pytest.approx(0.15)
    assert egress_price(GIB, Region("aws"), Region("aws")).usd == pytest.approx(0.138)


def test_every_tariff_names_its_source_and_ends_with_an_open_tier() -> None:
    data = json.loads(files("cloud_adapters").joinpath("tariffs.json").read_text(encoding="utf-8"))
    for tariff in data["providers"].values():
        assert tariff["source"]
        assert set(tariff["seconded"]) <= set(tariff["routes"])
        for tiers in tariff["routes"].values():
            assert [tier["width_gib"] is None for tier in tiers] == [False] * (len(tiers) - 1) + [True]


def test_a_price_says_where_it_comes_from_and_that_nobody_has_checked_it() -> None:
    price = egress_price(GIB, EAST, Region("gcp"))
    assert price.source.startswith("https://aws.amazon.com/")
    assert price.checked == ""
    assert "2026-06-04" in price.seconded
