"""What is kept is made once, is made again when it is too old, and is never more than was asked for."""

from __future__ import annotations

import pytest

from orchestrator.api.kept import Kept


def test_values_are_made_once_and_the_oldest_goes() -> None:
    made: list[str] = []

    def value(key: str) -> str:
        return kept.get(key, lambda: made.append(key) or key)  # type: ignore[func-returns-value]

    kept: Kept[str] = Kept(seconds=3600, most=2)
    assert [value(key) for key in "aabbacab"] == list("aabbacab")
    assert made == ["a", "b", "c", "b"], "b was used least when c came"


def test_what_is_too_old_or_failed_is_made_again() -> None:
    expired: Kept[int] = Kept(seconds=0, most=2)
    assert [expired.get("a", lambda number=number: number) for number in (1, 2)] == [1, 2]  # type: ignore[misc]
    lasting: Kept[int] = Kept(seconds=3600, most=2)
    with pytest.raises(ZeroDivisionError):
        lasting.get("a", lambda: 1 // 0)
    assert lasting.get("a", lambda: 3) == 3
