"""Azurite refuses the header of Azure's CRC64, so a proxy stands for a service that knows it, and verifies."""

from __future__ import annotations

import base64
import os

import pytest
from awscrt.checksums import crc64nvme

from cloud_adapters.errors import CorruptObject
from cloud_adapters.registry import open_store
from tests.contract.conftest import Servers
from tests.contract.faulty import Exchange, Verdict, faulty
from tests.contract.servers import make_bucket

HEADER = "x-ms-content-crc64"


def verify(exchange: Exchange) -> Verdict | None:
    """As the service does: the CRC64 of the body, as eight bytes, the lowest first."""
    told = exchange.headers.pop(HEADER, None)
    if told is None or base64.b64decode(told) == crc64nvme(bytes(exchange.body)).to_bytes(8, "little"):
        return None
    return Verdict(400, "Crc64Mismatch")


def test_the_check_value_of_the_polynomial() -> None:
    """CRC-64/NVME of the usual nine digits, from the catalogue of parametrised CRC algorithms."""
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888


def test_bodies_are_verified_by_crc64_and_md5_has_the_last_word(running: Servers) -> None:
    sent: list[set[str]] = []

    def judge(exchange: Exchange) -> Verdict | None:
        if exchange.method == "PUT":
            sent.append({HEADER, "content-md5"} & exchange.headers.keys())
        return verify(exchange)

    def damage(exchange: Exchange) -> Verdict | None:
        if exchange.method == "PUT":
            exchange.body[3] ^= 1
        return judge(exchange)

    with faulty(running.origin("azure")) as (origin, faults):
        store = open_store(make_bucket("azure", origin, f"b{os.urandom(8).hex()}"))
        faults.before = judge
        store.put("whole", b"some bytes")
        upload = store.start_upload("parts", part_size=5)
        store.finish_upload(upload, [store.put_part(upload, 1, b"parts")])
        assert sent[:2] == [{HEADER}, {HEADER}]
        assert bytes(store.open("parts").read()) == b"parts"  # type: ignore[attr-defined]
        sent.clear()
        with pytest.raises(CorruptObject):
            store.put("whole", b"some bytes", checksum=store.checksum(b"other bytes"))
        assert sent == [{HEADER}]
        sent.clear()
        faults.before = damage
        with pytest.raises(CorruptObject):
            store.put("whole", b"some bytes")
        assert sent == [{HEADER}, {"content-md5"}]
