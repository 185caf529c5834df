"""How a part of the control plane is follows from when it last said something, by the rule of leases."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from orchestrator import settings
from orchestrator.store import components, gauges
from tests.integration.store.plane import Plane

_WAS = "UPDATE components SET seen_at = clock_timestamp() - :ago * interval '1 second' WHERE name = :name"


def _heard(plane: Plane, **seconds: float) -> dict[str, str]:
    """How schedulers are that were last heard of so many seconds ago."""
    with plane.database.transaction() as connection:
        for name, ago in seconds.items():
            components.seen(connection, name, "scheduler", "placing jobs")
            connection.execute(text(_WAS), {"ago": ago, "name": name})
    with plane.database.transaction() as connection:
        return {part.name: part.state for part in components.views(connection)}


def test_three_missed_heartbeats_are_silence_and_a_missed_lease_is_gone(plane: Plane) -> None:
    assert _heard(plane, a=0, b=14) == {"a": "well", "b": "well"}
    assert _heard(plane, b=20) == {"a": "well", "b": "silent"}
    assert _heard(plane, b=40) == {"a": "well", "b": "gone"}
    with plane.database.transaction() as connection:
        (metric,) = [one for one in gauges.read(connection) if one.name == "neutrino_components"]
    assert [(sample.labels["healthy"], sample.value) for sample in metric.samples] == [("true", 1)]


def test_the_last_of_its_kind_is_missed_for_as_long_as_it_is_remembered(plane: Plane) -> None:
    assert _heard(plane, a=3000, b=600) == {"a": "silent", "b": "silent"}


def test_both_follow_the_length_of_leases(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "current", settings.Settings.from_env)  # not kept, as a process does
    monkeypatch.setenv("NEUTRINO_LEASE_SECONDS", "600")
    assert _heard(plane, a=0, b=290, c=400) == {"a": "well", "b": "well", "c": "silent"}
    monkeypatch.setenv("NEUTRINO_LEASE_SECONDS", "3")
    assert _heard(plane, a=0, b=9, c=11) == {"a": "well", "b": "well", "c": "gone"}
