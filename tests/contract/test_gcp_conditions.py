"""The GCS emulator ignores preconditions, so what is sent is looked at instead."""

from __future__ import annotations

import json
import os
import urllib.request
from urllib.parse import quote

import pytest

from cloud_adapters.errors import ObjectNotFound, PreconditionFailed
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


def test_a_component_that_another_writer_has_replaced_is_not_taken(running: Servers) -> None:
    """A proxy stands for the service: it compares the generation of each source of a `compose` with what is there."""
    origin = running.origin("gcp")

    def compare(exchange: Exchange) -> Verdict | None:
        if not exchange.path.partition("?")[0].endswith("/compose"):
            return None
        bucket = exchange.path.split("/b/")[1].split("/")[0]
        for source in json.loads(exchange.body)["sourceObjects"]:
            about = f"{origin}/storage/v1/b/{bucket}/o/{quote(source['name'], safe='')}"
            with urllib.request.urlopen(about, timeout=20) as answer:
                generation = json.load(answer)["generation"]
            if str(source["objectPreconditions"]["ifGenerationMatch"]) != str(generation):
                return Verdict(412)
        return None

    with faulty(origin) as (proxied, faults):
        faults.before = compare
        store = open_store(make_bucket("gcp", proxied, f"b{os.urandom(8).hex()}"))
        upload = store.start_upload("key", part_size=5)
        mine = [store.put_part(upload, number, b"mine!") for number in range(1, 40)]
        theirs = store.put_part(upload, 35, b"hers!")
        with pytest.raises(PreconditionFailed):
            store.finish_upload(upload, mine)
        with pytest.raises(ObjectNotFound):
            store.head("key")
        store.finish_upload(upload, [*mine[:34], theirs, *mine[35:]])
        assert bytes(store.open("key").read()) == b"mine!" * 34 + b"hers!" + b"mine!" * 4  # type: ignore[attr-defined]
