"""What other threads tell the worker's event loop."""

from __future__ import annotations

import asyncio

from workers import joining


def test_a_bell_is_heard_in_the_loop_and_by_nobody_once_that_has_ended() -> None:
    heard: list[str] = []

    async def listen() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        rang = asyncio.Event()
        await asyncio.to_thread(joining.soon, loop, rang.set)
        await rang.wait()
        return loop

    ended = asyncio.run(listen())
    joining.soon(ended, lambda: heard.append("too late"))
    assert heard == []
