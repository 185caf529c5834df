"""What the API finds out about itself: its stores, and that it is there."""

from __future__ import annotations

import time
from pathlib import Path

from orchestrator.api.tick import Tick
from orchestrator.domain.views import CreatePool
from orchestrator.store import components, pools
from tests.integration.api.client import Api


def _names(api: Api) -> list[str]:
    with api.database.transaction() as connection:
        return [part.name for part in components.views(connection)]


def test_a_store_is_written_read_and_left_as_it_was(api: Api, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(exist_ok=True)
    (check,) = api("POST", "/v1/stores/check", "submitter").json()["items"]
    assert (check["canRead"], check["canWrite"], check["fault"], check["pools"]) == (True, True, None, ["local"])
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert api("POST", "/v1/stores/check", "viewer").status_code == 403


def test_a_store_that_cannot_be_used_says_why(api: Api, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with api.database.transaction() as connection:
        pools.create(connection, CreatePool(name="broken", store=(tmp_path / "file" / "below").as_uri()))
        pools.create(connection, CreatePool(name="unheard", store="gopher://elsewhere"))
    checks = {one["pools"][0]: one for one in api("POST", "/v1/stores/check").json()["items"]}
    assert checks["local"]["fault"] is None
    for name in ("broken", "unheard"):
        assert not checks[name]["canRead"]
        assert not checks[name]["canWrite"]
        assert checks[name]["fault"]
    assert "not the address of an object store" in checks["unheard"]["fault"]


def test_a_service_that_ends_as_it_should_is_not_missed(api: Api) -> None:
    tick = Tick(api.database, "api@here:1")
    tick.start()
    deadline = time.monotonic() + 120
    while "api@here:1" not in _names(api):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    tick.stop()
    assert "api@here:1" not in _names(api)
