"""The live stream: one per tab, fed by one listening connection per process.

Events are hints: `changed` names jobs of the workspace that have something new, and the page fetches the parts that
show them. `tick` comes every few seconds and says that the database has answered. A tab that was away loses nothing:
the first event of every stream is `hello`, on which it fetches all of its parts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from orchestrator.dashboard.access import Viewer
from orchestrator.domain.errors import NeutrinoError
from orchestrator.domain.ids import encode
from orchestrator.store import sessions
from orchestrator.store.changes import Changes
from orchestrator.store.overview import workspaces_of
from orchestrator.store.session import Database

log = logging.getLogger(__name__)
router = APIRouter()

Answer = TypeVar("Answer")

TICK_SECONDS = 3.0
_GATHER_SECONDS = 0.1
"""Changes that come within so long are told together."""
_NAMED = 100
"""When more jobs than these have changed at once, they are not named."""
_TABS_PER_SECOND = 100
"""Tabs fetch their parts at a pace at which one process can serve all of them."""


@dataclass(eq=False, slots=True)
class Tab:
    """An open stream, and what it has not been told yet. `jobs` None: any job may have changed."""

    session: int
    workspace: int
    jobs: set[int] | None = field(default_factory=set)
    ticked: bool = False
    over: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, jobs: set[int] | None) -> None:
        """Remember that these jobs have changed."""
        if jobs is None or self.jobs is None or len(self.jobs | jobs) > _NAMED:
            self.jobs = None
        else:
            self.jobs |= jobs
        self.news.set()

    def take(self) -> tuple[set[int] | None, bool]:
        """What is new, once."""
        told = self.jobs, self.ticked
        self.jobs, self.ticked = set(), False
        self.news.clear()
        return told


class Live:
    """The tabs of this process. However many there are, each change costs one query."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._tabs: set[Tab] = set()
        self._pending: set[int] | None = set()
        self._told: Counter[int] = Counter()
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        changes.follow(self._changed)

    @property
    def pace(self) -> float:
        """How many seconds a tab should leave between two fetches."""
        return max(1.0, len(self._tabs) / _TABS_PER_SECOND)

    @property
    def stopping(self) -> bool:
        """True when this process is about to end."""
        return self._changes.stopping

    def changes_of(self, workspace: int) -> int:
        """A number that grows with every change in the workspace."""
        return self._told[workspace]

    def open(self, session: int, workspace: int) -> Tab:
        """A tab from now on; give it back with `close`."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._spread()), asyncio.create_task(self._beat())]
        tab = Tab(session, workspace)
        self._tabs.add(tab)
        return tab

    def close(self, tab: Tab) -> None:
        """The tab has gone; after the last one, nothing is asked of the database any more."""
        self._tabs.discard(tab)
        if not self._tabs:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    def end(self, session: int) -> None:
        """Close the streams of a session that has ended."""
        for tab in self._tabs:
            if tab.session == session:
                tab.over = True
                tab.news.set()

    def _changed(self, jobs: frozenset[int] | None) -> None:
        if self._changes.stopping:
            for tab in self._tabs:
                tab.over = True
                tab.news.set()
        if self._tabs:
            self._pending = None if jobs is None or self._pending is None else self._pending | jobs
            self._wanted.set()

    async def _spread(self) -> None:
        while True:
            await self._wanted.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            self._wanted.clear()
            jobs, self._pending = self._pending, set()
            owners = None
            if jobs is not None and len(jobs) <= 10 * _NAMED:
                owners = await self._ask(partial(self._owners, jobs))
            self._told.update(iter(owners) if owners is not None else (tab.workspace for tab in self._tabs))
            for tab in self._tabs:
                mine = None if owners is None else owners.get(tab.workspace, set())
                if mine is None or mine:
                    tab.tell(mine)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ids = {tab.session for tab in self._tabs}
            living = await self._ask(partial(self._living, ids))
            if living is None:
                continue  # without a tick, the tabs know that what they show may be old
            gone = ids - living
            for tab in self._tabs:
                tab.ticked = True
                tab.over = tab.over or tab.session in gone
                tab.news.set()

    async def _ask(self, question: Callable[[], Answer]) -> Answer | None:
        try:
            return await run_sync(question)
        except NeutrinoError as error:
            log.warning("live: %s", error)
            return None

    def _owners(self, jobs: set[int]) -> dict[int, set[int]]:
        with self._database.transaction() as connection:
            return workspaces_of(connection, jobs)

    def _living(self, ids: set[int]) -> set[int]:
        with self._database.transaction() as connection:
            return sessions.living(connection, ids)


@router.get("/ui/live", response_class=EventSourceResponse)
async def stream(request: Request, viewer: Viewer) -> AsyncIterator[ServerSentEvent]:
    """What is new in the viewer's workspace, until the session ends."""
    live: Live = request.app.state.live
    tab = live.open(viewer.id, viewer.workspace_id)
    try:
        yield ServerSentEvent(event="hello", data={"pace": live.pace}, retry=1000)
        while True:
            await tab.news.wait()
            if tab.over:
                if not live.stopping:  # else the browser comes back by itself, to another replica
                    yield ServerSentEvent(event="bye", data={})
                return
            jobs, ticked = tab.take()
            if jobs is None or jobs:
                named = None if jobs is None else [encode("j", job) for job in sorted(jobs)]
                yield ServerSentEvent(event="changed", data={"jobs": named})
            if ticked:
                yield ServerSentEvent(event="tick", data={"pace": live.pace})
    finally:
        live.close(tab)
