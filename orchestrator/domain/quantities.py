"""Amounts as people write them: `90s`, `1h30m`, `8Gi`, `T4:2`. Each prints in one canonical way."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

GIB = 1024**3
_DURATION = re.compile(r"^(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d+)?)s)?$", re.ASCII)
_UNIT_SECONDS = (86400, 3600, 60, 1)
_MEMORY = re.compile(r"^(\d{1,18}(?:\.\d+)?)\s*(|[KMGT]i?)B?$", re.ASCII)
_MEMORY_UNITS = {
    "": 1,
    **{f"{p}i": 1024**n for n, p in enumerate("KMGT", 1)},
    **{p: 1000**n for n, p in enumerate("KMGT", 1)},
}
_GPU = re.compile(r"^([A-Za-z][A-Za-z0-9-]{0,31})(?::(\d{1,4}))?$", re.ASCII)


class Unreadable(ValueError):
    """Text that is no amount: what is wrong, and how it is written."""

    def __init__(self, fault: str, hint: str) -> None:
        super().__init__(f"{fault}; {hint}")
        self.fault = fault
        self.hint = f"{hint[:1].upper()}{hint[1:]}."


def parse_duration(value: object) -> float:
    """Seconds in `1h30m`, `90s` or a plain number of seconds. Raises ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.match(value.strip()) if isinstance(value, str) and value.strip() else None
    if match is None:
        raise Unreadable("not a duration", "write 90s, 15m, 1h30m or 2d")
    return sum(float(part) * unit for part, unit in zip(match.groups(), _UNIT_SECONDS, strict=True) if part)


def format_duration(seconds: float) -> str:
    """`5400.0` as `1h30m`, `90.5` as `90.5s`: `parse_duration` gives back the very same number."""
    if seconds % 1:
        return f"{Decimal(repr(float(seconds))):f}s"
    text, whole = "", int(seconds)
    for unit, letter in zip(_UNIT_SECONDS[:3], "dhm", strict=True):
        count, whole = divmod(whole, unit)
        text += f"{count}{letter}" if count else ""
    return text + (f"{whole}s" if whole or not text else "")


def parse_memory(value: object) -> int:
    """Bytes in `8Gi`, `512M` or a plain number of bytes. Raises ValueError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _MEMORY.match(value) if isinstance(value, str) else None
    if match is None:
        raise Unreadable("not an amount of memory", "write 512Mi, 8Gi or 1.5G")
    return int(float(match[1]) * _MEMORY_UNITS[match[2]])


def format_memory(amount: int) -> str:
    """Bytes in the largest binary unit that divides them: 8589934592 as `8Gi`."""
    for power, prefix in reversed(list(enumerate("KMGT", 1))):
        if amount and amount % 1024**power == 0:
            return f"{amount // 1024**power}{prefix}i"
    return str(amount)


def format_bytes(amount: float) -> str:
    """Bytes for people: 1610612736 as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


class Gpu(NamedTuple):
    """A type of GPU and how many of it per node."""

    type: str
    per_node: int

    def __str__(self) -> str:
        return f"{self.type}:{self.per_node}"


def parse_gpu(value: object) -> Gpu:
    """`T4`, `T4:2` or a Gpu. Raises ValueError otherwise."""
    if isinstance(value, Gpu):
        return value
    match = _GPU.match(value) if isinstance(value, str) else None
    if match is None or (match[2] is not None and int(match[2]) == 0):
        raise Unreadable("not a GPU request", "write T4, A100:8 or H100:1")
    return Gpu(match[1].upper(), int(match[2] or 1))


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": ["string", "number"], "examples": ["90s", "1h30m"]}),
]
Memory = Annotated[
    int,
    BeforeValidator(parse_memory),
    PlainSerializer(format_memory),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["512Mi", "8Gi"]}),
]
GpuRequest = Annotated[
    Gpu,
    BeforeValidator(parse_gpu),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["T4:1", "A100:8"]}),
]
