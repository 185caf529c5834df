"""Cutting output into lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.protocol import MAX_LINE
from workers.lines import LineSplitter


def _lines(*chunks: bytes) -> list[str]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ((b"a\nb\n",), ["a", "b"]),
        ((b"a", b"b\nc"), ["ab", "c"]),
        ((b"\n\n",), ["", ""]),
        ((b"dos\r\n",), ["dos"]),
        ((b"dos\r", b"\n"), ["dos"]),
        ((b"1%\r50%\r100%\ndone\n",), ["100%", "done"]),
        ((b"1%\r", b"50%\r", b"100%", b"\n"), ["100%"]),
        ((b"\r1%\r2%",), ["2%"]),
        ((b"\xff\xfe caf\xc3\xa9\n",), ["\ufffd\ufffd café"]),
        ((b"caf\xc3", b"\xa9\n"), ["café"]),
        ((b"nul\0\n",), ["nul\ufffd"]),
        ((), []),
    ],
)
def test_lines(chunks: tuple[bytes, ...], lines: list[str]) -> None:
    assert _lines(*chunks) == lines


def test_a_long_line_is_cut_and_says_how_much_is_missing() -> None:
    [line, after] = _lines(*[b"x" * 1000] * 100, b"\nafter\n")
    assert line == "x" * MAX_LINE + f" … [{100_000 - MAX_LINE} bytes dropped]"
    assert after == "after"


@given(st.lists(st.binary(max_size=50)), st.integers(1, 7))
def test_where_chunks_are_cut_makes_no_difference(parts: list[bytes], size: int) -> None:
    data = b"\n".join(part.replace(b"\r", b"") for part in parts)
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    assert _lines(*chunks) == _lines(data)
    assert "\n".join(_lines(data)) == data.removesuffix(b"\n").decode("utf-8", "replace").replace("\0", "\ufffd")


@given(st.lists(st.sampled_from([b"\r", b"a", b"bc", b"\n"])))
def test_progress_bars_make_no_difference_either(parts: list[bytes]) -> None:
    assert _lines(*parts) == _lines(b"".join(parts))
