"""The GCS emulator ignores preconditions, so what is sent is looked at instead."""

from __future__ import annotations

import os

import pytest

from cloud_adapters.errors import PreconditionFailed
from cloud_adapters.registry import open_store
from tests.contract.conftest import Servers
from tests.contract.faulty import Exchange, Verdict, faulty
from tests.contract.servers import make_bucket


def test_conditions_are_asked_for_and_their_refusal_understood(running: Servers) -> None:
    paths: list[str] = []

    def refuse(exchange: Exchange) -> Verdict | None:
        paths.append(exchange.path)
        return Verdict(412) if "ifGenerationMatch=" in exchange.path else None

    with faulty(running.origin("gcp")) as (origin, faults):
        store = open_store(make_bucket("gcp", origin, f"b{os.urandom(8).hex()}"))
        faults.before = refuse
        with pytest.raises(PreconditionFailed):
            store.put("key", b"x", create_only=True)
        assert "ifGenerationMatch=0" in paths[-1]
        upload = store.start_upload("key", part_size=5)
        part = store.put_part(upload, 1, b"parts")
        with pytest.raises(PreconditionFailed):
            store.finish_upload(upload, [part], create_only=True)
        assert "compose" in paths[-1]
        assert "ifGenerationMatch=0" in paths[-1]
        etag = store.put("key", b"x").etag
        with pytest.raises(PreconditionFailed):
            store.open("key", etag=etag)
        assert f"ifGenerationMatch={etag}" in paths[-1]
