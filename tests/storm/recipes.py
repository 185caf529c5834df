"""The jobs that the storm's users submit, each with what has to come of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator import Command
from orchestrator.domain.spec import Retry, SourceFile
from orchestrator.domain.state import JobState


@dataclass(frozen=True, slots=True)
class Recipe:
    """A job: its fields, and what is known of its end when nobody interferes. `lines` and `chain` are the counts that
    a success must show; `errors` is how often the job fails by itself before it counts as failed."""

    command: tuple[str, ...] | None = None
    entrypoint: str | None = None
    params: tuple[tuple[str, float], ...] = ()
    retries: int = 0
    ends: JobState = JobState.SUCCEEDED
    lines: int | None = None
    chain: int | None = None

    def spec(self, number: str, client: str, files: tuple[SourceFile, ...]) -> Command:
        """The job as it is submitted; its label `storm` names the submission."""
        named = self.entrypoint is not None and self.entrypoint.startswith("workload:")
        return Command(
            name="storm",
            labels={"storm": number, "client": client},
            command=self.command,
            entrypoint=self.entrypoint,
            params=dict(self.params),
            retry=Retry(max=self.retries),
            files=files if named else (),
        )


def _nothing(_choose: random.Random) -> Recipe:
    return Recipe(entrypoint="gc:enable")


def _sleep(choose: random.Random) -> Recipe:
    return Recipe(command=("sleep", f"{choose.uniform(0.01, 0.8):.2f}"))


def _fail(choose: random.Random) -> Recipe:
    retries = choose.choice([0, 0, 1])
    return Recipe(
        entrypoint="workload:fail", params=(("code", choose.randint(1, 9)),), retries=retries, ends=JobState.FAILED
    )


def _lines(choose: random.Random) -> Recipe:
    count = choose.choice([1, 10, 200])
    return Recipe(entrypoint="workload:lines", params=(("count", count), ("pause", 0.2 / count)), lines=count)


def _chain(choose: random.Random) -> Recipe:
    count = choose.randint(1, 12)
    pause = choose.choice([0.0, 0.1, 0.3])
    return Recipe(entrypoint="workload:chain", params=(("count", count), ("pause", pause)), chain=count)


_RECIPES: dict[Callable[[random.Random], Recipe], int] = {_nothing: 6, _sleep: 4, _fail: 2, _lines: 3, _chain: 3}


def some(choose: random.Random) -> Recipe:
    """Any recipe."""
    return choose.choices(list(_RECIPES), list(_RECIPES.values()))[0](choose)


def small(choose: random.Random) -> Recipe:
    """A recipe for the many."""
    return choose.choice([*[_nothing] * 6, _sleep, _lines])(choose)
