"""The contract of an object store, as a suite: a new provider's test is a subclass with a `store` fixture.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self) -> ObjectStore: ...

Against a live cloud, set NEUTRINO_TEST_STORE to the address of an empty prefix and run `tests/contract/test_live.py`.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest

from cloud_adapters import artifacts
from cloud_adapters.base import MIB, ObjectStore, Part, Upload
from cloud_adapters.errors import InvalidStore, ObjectNotFound, PreconditionFailed, StoreError
from cloud_adapters.locations import below
from cloud_adapters.registry import open_store
from cloud_adapters.streams import md5_of, put_stream
from orchestrator.domain.artifact import Manifest, ManifestFile

ODD_NAMES = [
    "with space", "plus+plus", "per%20cent", "question?mark", "hash#tag", "ampersand&equals=", "tilde~", "dot.",
    "quote'double\"", "ünï/cødé", "日本語.bin", "emoji-🚀", "a:b;c,d", "brackets[1](2){3}", ".hidden", "UPPER/lower",
    "dollar$at@", "star*", "pipe|caret^", "deep/er/and/deep/er/still",
]  # fmt: skip


def read(store: ObjectStore, key: str) -> bytes:
    """The whole object."""
    data = bytearray(store.head(key).size)
    store.read_into(key, memoryview(data))
    return bytes(data)


class StoreContract:
    """What every store does. `part_size` may be raised by a provider with a larger smallest part."""

    part_size = 5 * MIB
    enforces_create_only = True  # False only for a test server that ignores preconditions
    creates_atomically = True  # False only for a test server that looks first and writes then
    drops_parts_itself = False  # True where an unfinished upload cannot be swept, because it ends by itself
    honours_limit = True  # False only for a test server that lists everything at once

    @pytest.fixture
    def store(self) -> ObjectStore:
        """An empty store, made by the subclass."""
        raise AssertionError("a subclass gives the store")

    def test_an_object_comes_back(self, store: ObjectStore) -> None:
        data = os.urandom(100_000)
        info = store.put("a/b", data)
        assert info.size == len(data)
        assert read(store, "a/b") == data
        head = store.head("a/b")
        assert (head.key, head.size, head.etag) == ("a/b", len(data), info.etag)
        assert head.md5 in {None, md5_of(data)}

    def test_an_empty_object(self, store: ObjectStore) -> None:
        store.put("empty", b"")
        assert store.head("empty").size == 0
        with store.open("empty") as reader:
            assert reader.readinto(memoryview(bytearray(10))) == 0

    def test_streams(self, store: ObjectStore) -> None:
        data = os.urandom(3 * MIB + 17)
        assert put_stream(store, "stream", io.BytesIO(data), len(data)) == hashlib.sha256(data).hexdigest()
        got = bytearray()
        buffer = memoryview(bytearray(70_001))
        with store.open("stream") as reader:
            assert reader.size == len(data)
            while count := reader.readinto(buffer):
                got += buffer[:count]
        assert got == data

    def test_ranges(self, store: ObjectStore) -> None:
        data = os.urandom(10_000)
        etag = store.put("ranged", data).etag
        for start, end in [(0, 1), (0, 10_000), (5_000, 5_001), (9_999, 10_000), (123, 4_567)]:
            buffer = bytearray(end - start)
            store.read_into("ranged", memoryview(buffer), start=start, etag=etag)
            assert buffer == data[start:end]
        with pytest.raises(StoreError):
            store.read_into("ranged", memoryview(bytearray(10)), start=20_000)

    def test_a_replaced_object_is_noticed(self, store: ObjectStore) -> None:
        if not self.enforces_create_only:
            pytest.skip("this test server ignores preconditions")
        old = store.put("changing", b"one" * 100).etag
        new = store.put("changing", b"two" * 100).etag
        assert old != new
        with pytest.raises(PreconditionFailed):
            store.open("changing", etag=old)
        assert read(store, "changing") == b"two" * 100

    def test_create_only(self, store: ObjectStore) -> None:
        if not self.enforces_create_only:
            pytest.skip("this test server ignores preconditions")
        store.put("once", b"first", create_only=True)
        with pytest.raises(PreconditionFailed):
            store.put("once", b"second", create_only=True)
        assert read(store, "once") == b"first"

    def test_of_concurrent_creates_one_wins(self, store: ObjectStore) -> None:
        if not (self.enforces_create_only and self.creates_atomically):
            pytest.skip("this test server lets two of them win")
        racers = 8
        start = Barrier(racers)

        def race(number: int) -> int | None:
            start.wait()
            try:
                store.put("raced", f"{number}".encode(), create_only=True)
            except PreconditionFailed:
                return None
            return number

        with ThreadPoolExecutor(racers) as pool:
            winners = [number for number in pool.map(race, range(racers)) if number is not None]
        assert len(winners) == 1
        assert read(store, "raced") == f"{winners[0]}".encode()

    def test_what_is_not_there(self, store: ObjectStore) -> None:
        for call in (store.head, store.open):
            with pytest.raises(ObjectNotFound):
                call("nothing/here")
        store.delete("nothing/here")
        assert store.list_page("nothing/").objects == ()

    def test_delete(self, store: ObjectStore) -> None:
        store.put("gone", b"x")
        store.delete("gone")
        with pytest.raises(ObjectNotFound):
            store.head("gone")

    def test_names_with_odd_characters(self, store: ObjectStore) -> None:
        for number, name in enumerate(ODD_NAMES):
            store.put(f"odd/{name}", f"{number}".encode())
        for number, name in enumerate(ODD_NAMES):
            assert read(store, f"odd/{name}") == f"{number}".encode(), name
        listed = [info.key for info in store.list_page("odd/").objects]
        assert sorted(listed) == sorted(f"odd/{name}" for name in ODD_NAMES)
        for name in ODD_NAMES:
            store.delete(f"odd/{name}")
        assert store.list_page("odd/").objects == ()

    @pytest.mark.parametrize("key", ["", "/abs", "../up", "a/../b", "a//b", "nul\0", "line\nbreak", "./x"])
    def test_keys_that_climb_or_break(self, store: ObjectStore, key: str) -> None:
        for call in (store.head, store.open, lambda bad: store.put(bad, b"x"), store.delete):
            with pytest.raises(InvalidStore):
                call(key)

    def test_many_small_objects_and_pages(self, store: ObjectStore) -> None:
        names = [f"many/{number:04d}" for number in range(250)]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: store.put(name, name.encode()), names))
        seen: list[str] = []
        token: str | None = None
        for _ in range(10):
            page = store.list_page("many/", token=token, limit=100)
            assert len(page.objects) <= 100 or not self.honours_limit
            seen += [info.key for info in page.objects]
            token = page.next
            if token is None:
                break
        assert seen == names
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(lambda name: read(store, name), names)) == [name.encode() for name in names]

    def test_an_object_of_several_parts(self, store: ObjectStore) -> None:
        data = os.urandom(2 * self.part_size + 1234)
        upload = store.start_upload("parts/whole", part_size=self.part_size)
        parts = [store.put_part(upload, n, piece) for n, piece in self._pieces(data)]
        with pytest.raises(ObjectNotFound):
            store.head("parts/whole")
        info = store.finish_upload(upload, parts)
        assert info.size == len(data)
        assert read(store, "parts/whole") == data
        assert [one.key for one in store.list_page("").objects] == ["parts/whole"]

    def test_an_upload_goes_on_where_it_stopped(self, store: ObjectStore) -> None:
        data = os.urandom(2 * self.part_size + 99)
        pieces = self._pieces(data)
        upload = store.start_upload("parts/resumed", part_size=self.part_size)
        for number, piece in (pieces[2], pieces[0]):
            store.put_part(upload, number, piece)
        found = store.find_upload("parts/resumed", part_size=self.part_size)
        assert found is not None
        landed = {part.number: part for part in store.list_parts(found)}
        assert {n: (part.size, part.fingerprint) for n, part in landed.items()} == {
            n: (len(piece), store.fingerprint(piece)) for n, piece in (pieces[0], pieces[2])
        }
        number, piece = pieces[1]
        landed[number] = store.put_part(found, number, piece)
        store.finish_upload(found, [landed[n] for n in sorted(landed)])
        assert read(store, "parts/resumed") == data
        assert store.find_upload("parts/resumed", part_size=self.part_size) is None

    def test_an_aborted_upload_leaves_nothing(self, store: ObjectStore) -> None:
        upload = store.start_upload("parts/aborted", part_size=self.part_size)
        piece = os.urandom(1000)
        store.put_part(upload, 1, piece)
        store.abort_upload(upload)
        assert store.find_upload("parts/aborted", part_size=self.part_size) is None
        with pytest.raises(ObjectNotFound):
            store.head("parts/aborted")
        store.abort_upload(upload)

    def test_parts_of_two_writers_never_mix(self, store: ObjectStore) -> None:
        """The second of them finds what the first has not finished yet, and sends other bytes."""
        if not self.enforces_create_only:
            pytest.skip("this test server ignores preconditions")
        contents = [os.urandom(self.part_size + 77) for _ in range(2)]
        first = store.start_upload("parts/shared", part_size=self.part_size)
        sent: tuple[list[Part], list[Part]] = ([], [])

        def send(writer: int, upload: Upload, number: int) -> None:
            with suppress(StoreError):  # the other one has taken it over
                sent[writer].append(store.put_part(upload, *self._pieces(contents[writer])[number]))

        send(0, first, 0)
        second = store.find_upload("parts/shared", part_size=self.part_size)
        assert second is not None
        for number in (0, 1):
            send(1, second, number)
            if not number:
                send(0, first, 1)
        finished = 0
        for upload, parts, content in zip((first, second), sent, contents, strict=True):
            try:
                store.finish_upload(upload, parts)
            except StoreError:
                continue
            finished += 1
            assert read(store, "parts/shared") == content
        assert finished

    def test_parts_with_create_only(self, store: ObjectStore) -> None:
        if not self.enforces_create_only:
            pytest.skip("this test server ignores preconditions")
        store.put("parts/taken", b"first")
        upload = store.start_upload("parts/taken", part_size=self.part_size)
        part = store.put_part(upload, 1, b"second")
        with pytest.raises(PreconditionFailed):
            store.finish_upload(upload, [part], create_only=True)
        assert read(store, "parts/taken") == b"first"

    def test_what_is_unfinished_is_in_no_listing_and_is_swept(self, store: ObjectStore) -> None:
        """Neither from the store's own address nor from the one above, nor one that a dead process left."""
        inner = open_store(below(store.uri, "sub"))
        upload = inner.start_upload("large", part_size=self.part_size)
        inner.put_part(upload, 1, bytes(self.part_size))
        assert not store.list_page("").objects + inner.list_page("").objects
        inner.sweep(before=0.0)
        assert inner.find_upload("large", part_size=self.part_size) is not None
        inner.sweep(before=math.inf)
        assert inner.find_upload("large", part_size=self.part_size) is None or self.drops_parts_itself

    def make_folder(self, _store: ObjectStore, _name: str) -> None:
        """Makes the empty object by which the cloud's console shows a folder; its name ends with a slash."""
        pytest.skip("this store has none")

    def test_what_consoles_show_as_a_folder_is_no_object(self, store: ObjectStore) -> None:
        store.put("marked/file", b"x")
        for name in ("marked/", "marked/deep/"):
            self.make_folder(store, name)
        assert [one.key for one in store.list_page("").objects] == ["marked/file"]
        inner = open_store(below(store.uri, "marked"))
        assert [one.key for one in inner.list_page("").objects] == ["file"]
        assert (inner.sweep(before=math.inf), inner.sweep(before=math.inf)) == (2, 0)
        assert read(store, "marked/file") == b"x"

    def test_copy_inside_the_store(self, store: ObjectStore) -> None:
        data = os.urandom(12_345)
        store.put("copy/from here", data)
        assert store.can_copy_from(store)
        assert store.copy_from(store, "copy/from here", "copy/to").size == len(data)
        assert read(store, "copy/to") == data
        with pytest.raises(ObjectNotFound):
            store.copy_from(store, "copy/nothing", "copy/to2")

    def test_presigned_reads(self, store: ObjectStore) -> None:
        if not store.capabilities.presigned_read:
            with pytest.raises(StoreError):
                store.presign("x", seconds=60)
            return
        store.put("signed/it is", b"for you")
        with urllib.request.urlopen(store.presign("signed/it is", seconds=60), timeout=20) as answer:  # noqa: S310
            assert answer.read() == b"for you"

    def test_an_artifact_becomes_visible_last(self, store: ObjectStore) -> None:
        data = os.urandom(5000)
        manifest = Manifest.of([ManifestFile(path="w", size=len(data), sha256=hashlib.sha256(data).hexdigest())])
        store.put("art/w", data)
        with pytest.raises(ObjectNotFound):
            artifacts.read_manifest(store, "art")
        artifacts.commit_manifest(store, "art", manifest)
        artifacts.commit_manifest(store, "art", manifest)
        assert artifacts.read_manifest(store, "art") == manifest
        assert b"".join(artifacts.open_verified(store, "art", manifest.files[0])) == data
        artifacts.discard(store, "art")
        assert store.list_page("art/").objects == ()

    def _pieces(self, data: bytes) -> list[tuple[int, bytes]]:
        starts = range(0, len(data), self.part_size)
        return [(number, data[at : at + self.part_size]) for number, at in enumerate(starts, start=1)]
