"""GPUs are shared out so that no two attempts have the same one."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.domain.errors import NeutrinoError
from workers.gpus import Device, Shares

TWO = (Device("GPU-a", "NVIDIA A100"), Device("GPU-b", "NVIDIA A100"))


def test_who_comes_too_early_waits_until_enough_are_given_back() -> None:
    async def play() -> list[tuple[str, ...]]:
        shares = Shares(TWO)
        first = await shares.take(1)
        both = asyncio.ensure_future(shares.take(2))
        await asyncio.sleep(0)
        assert not both.done()
        shares.give_back(first)
        return [first, await both]

    first, both = asyncio.run(play())
    assert first == ("GPU-a",)
    assert sorted(both) == ["GPU-a", "GPU-b"]


def test_who_gives_up_waiting_takes_nothing_away() -> None:
    async def play() -> tuple[str, ...]:
        shares = Shares(TWO)
        all_of_them = await shares.take(2)
        waiting = asyncio.ensure_future(shares.take(2))
        await asyncio.sleep(0)
        waiting.cancel()
        shares.give_back(all_of_them)
        return await asyncio.wait_for(shares.take(2), 10)

    assert sorted(asyncio.run(play())) == ["GPU-a", "GPU-b"]


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(NeutrinoError, match="needs 3 GPUs, and this machine has NVIDIA A100, NVIDIA A100"):
        asyncio.run(Shares(TWO).take(3))


def test_a_job_sees_its_own_gpus_only() -> None:
    assert Shares(TWO).environment(("GPU-b",)) == {"CUDA_VISIBLE_DEVICES": "GPU-b"}
    assert Shares(TWO).environment(()) == {"CUDA_VISIBLE_DEVICES": ""}
    assert Shares(()).environment(()) == {}
