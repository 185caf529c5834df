"""The cache of source files: threads that make room for each other take nothing from each other."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from workers.cache import Cache


def _named(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_threads_that_make_room_for_each_other_lose_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most=10_000)

    def use(number: int) -> None:
        data = b"%d" % (number % 40) * 1000
        if (found := cache.get(_named(data))) is not None:
            assert found == data
        cache.put(_named(data), data)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(2000)))
    assert _size(tmp_path) <= 10_000


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, most=30)
    names = [_named(data) for data in (b"a" * 10, b"b" * 10, b"c" * 10)]
    for when, data in enumerate((b"a" * 10, b"b" * 10, b"c" * 10)):
        cache.put(_named(data), data)
        os.utime(tmp_path / "kept" / _named(data), (when, when))
    assert cache.get(names[0]) == b"a" * 10
    cache.put(_named(b"d" * 10), b"d" * 10)
    assert [cache.get(name) is not None for name in names] == [True, False, True]


def test_what_is_damaged_or_left_half_is_not_had(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / "half").write_bytes(b"of a predecessor")
    cache = Cache(tmp_path)
    assert _size(tmp_path) == 0
    cache.put(_named(b"good"), b"evil")
    assert cache.get(_named(b"good")) is None
