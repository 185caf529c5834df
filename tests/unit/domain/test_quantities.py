"""Durations, memory and GPUs as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.domain.quantities import (
    Gpu,
    format_duration,
    format_memory,
    parse_duration,
    parse_gpu,
    parse_memory,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1d2h3m4.5s", 93_784.5),
        (" 15m ", 900),
        ("0.25s", 0.25),
        (90, 90),
        (1.5, 1.5),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "90", "1.5h", "s", "90 s", "-1s", "1m1h", "1h1h", "1e3s", True, None, [], "9" * 400 + "d"]
)
def test_what_is_no_duration_is_a_value_error(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.floats(min_value=0, max_value=30 * 86400, allow_nan=False))
@example(1e-7)
@example(59.9999999)
@example(3661.1)
@example(5e-324)
def test_every_duration_survives_the_way_through_its_text(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "1m30s"), (5400, "1h30m"), (86400, "1d"), (0.5, "0.5s"), (90.5, "90.5s")]
)
def test_durations_print_in_one_canonical_way(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8Gi", 8 * 1024**3), ("512M", 512 * 10**6), ("1.5G", 1_500_000_000), ("64", 64), ("2TiB", 2 * 1024**4), (7, 7)],
)
def test_amounts_of_memory_are_read_as_people_write_them(text: object, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize("text", ["", "8gi", "Gi", "-1Gi", "8 Gb", "1e3", True, None, 1.5, "9" * 400 + "Gi"])
def test_what_is_no_amount_of_memory_is_a_value_error(text: object) -> None:
    with pytest.raises(ValueError, match="memory"):
        parse_memory(text)


@given(st.integers(min_value=0, max_value=64 * 1024**4))
def test_every_amount_of_memory_survives_the_way_through_its_text(amount: int) -> None:
    assert parse_memory(format_memory(amount)) == amount


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("T4", Gpu("T4", 1)),
        ("a100:8", Gpu("A100", 8)),
        ("H100-SXM:2", Gpu("H100-SXM", 2)),
        (Gpu("L4", 3), Gpu("L4", 3)),
    ],
)
def test_gpus_are_read_as_people_write_them(text: object, gpu: Gpu) -> None:
    assert parse_gpu(text) == gpu
    assert parse_gpu(str(gpu)) == gpu


@pytest.mark.parametrize("text", ["", "T4:", "T4:0", "T4:00", "T4:-1", "T4:99999", "4T", "T4,L4", 1, None])
def test_what_is_no_gpu_is_a_value_error(text: object) -> None:
    with pytest.raises(ValueError, match="GPU"):
        parse_gpu(text)
