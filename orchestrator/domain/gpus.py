"""The types of GPU that clouds offer, by the names that jobs use. A misspelt one would otherwise wait for ever."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.errors import FieldError, InvalidSpec, nearest
from orchestrator.domain.quantities import parse_gpu

KNOWN = frozenset(
    {"A10", "A10G", "A100", "A100-40GB", "A100-80GB", "A2", "A30", "A40", "A6000", "B100", "B200", "B300", "GB200"}
    | {"GB300", "GH200", "H100", "H20", "H200", "K80", "L4", "L40", "L40S", "MI210", "MI250", "MI300X", "MI325X"}
    | {
        "MI350X",
        "MI355X",
        "P100",
        "P4",
        "RTX-PRO-6000",
        "RTX3090",
        "RTX4090",
        "RTX5090",
        "RTX6000",
        "T4",
        "T4G",
        "V100",
    }
)


def check_known(request: object, path: str, also: Iterable[str] = ()) -> None:
    """Refuse a type of GPU that neither exists nor is among `also`. Raises InvalidSpec."""
    kind = parse_gpu(request).type
    had = {parse_gpu(one).type for one in also}
    if kind in KNOWN | had:
        return
    guess = nearest(kind, KNOWN | had)
    hint = f"Did you mean {guess}?" if guess else f"Known: {', '.join(sorted(KNOWN | had))}."
    raise InvalidSpec.of([FieldError(path, f"{kind} is no type of GPU that is known here", hint)])
