"""The price of leaving: what a provider asks for bytes that leave a region. Tariffs are data, with source and date."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from orchestrator.domain.freight import Region
from orchestrator.domain.quantities import GIB


@dataclass(frozen=True, slots=True)
class EgressPrice:
    """USD for moving some bytes. `source` says where the tariff is published, `checked` when it was last compared with
    it (ISO date, empty for never), `seconded` which page of somebody else quotes the same figures (empty for none)."""

    usd: float
    route: str
    source: str
    checked: str
    seconded: str = ""


@cache
def _tariffs() -> dict[str, Any]:
    text = files("cloud_adapters").joinpath("tariffs.json").read_text(encoding="utf-8")
    tariffs: dict[str, Any] = json.loads(text)
    return tariffs


@cache
def usd_per_gib(source: Region, destination: Region) -> float:
    """USD per GiB from one place to another, at list price of the first GiB."""
    return egress_price(GIB, source, destination).usd


def egress_price(size: int, source: Region, destination: Region) -> EgressPrice:
    """What the provider of `source` charges for `size` bytes to `destination`, at list price.

    Free monthly allowances are left out, because others may have used them up: the true bill may be lower. Regions that
    are not known count as different ones, and as the continent with the highest price.
    """
    tariff = _tariffs()["providers"].get(source.cloud)
    if tariff is None:
        return EgressPrice(0.0, f"{source.cloud}: no tariff", "", "")
    route = _route(tariff, source, destination)
    tiers = tariff["routes"][route]
    usd, left = 0.0, size / GIB
    for tier in tiers:
        step = left if tier["width_gib"] is None else min(left, tier["width_gib"])
        usd, left = usd + step * tier["usd_per_gib"], left - step
    seconded = tariff["seconded"].get(route, "")
    return EgressPrice(usd, f"{source.cloud}: {route}", tariff["source"], tariff["checked"], seconded)


def _route(tariff: dict[str, Any], source: Region, destination: Region) -> str:
    """`same-region`, `between-regions:<area>` or `internet:<area>`; the area is the source's."""
    if source.cloud == destination.cloud and source.region and source.region == destination.region:
        return "same-region"
    prefixes: dict[str, str] = tariff["areas"]
    area = next(
        (prefixes[prefix] for prefix in sorted(prefixes, key=len, reverse=True) if source.region.startswith(prefix)), ""
    )
    kind = "between-regions" if source.cloud == destination.cloud else "internet"
    named = f"{kind}:{area}"
    if named in tariff["routes"]:
        return named
    same_kind: list[str] = [name for name in tariff["routes"] if name.startswith(kind)]
    return max(same_kind, key=lambda name: float(tariff["routes"][name][0]["usd_per_gib"]))
