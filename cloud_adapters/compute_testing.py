"""The contract of a place that runs work, as a suite: a new place's test is a subclass with a `compute` fixture, whose
`watch` runs.

The programs are Python; the place must be able to run `python -c`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from cloud_adapters.compute import Compute, Phase, Work
from cloud_adapters.compute_errors import WorkExists

Found = TypeVar("Found")

_PATIENCE = 60.0
_LABELS = {"neutrino/job": "j-1", "neutrino/epoch": "1"}
_WAITS = "import time; print('up', flush=True); time.sleep(1000)"


def until(look: Callable[[], Found]) -> Found:
    """What `look` finds, as soon as that is something."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


class ComputeContract:
    """What every place does."""

    python = sys.executable

    @pytest.fixture
    def compute(self) -> Compute:
        """An empty place, made by the subclass."""
        raise AssertionError("a subclass gives the place")

    def work(self, program: str, name: str = "j-1-1", **fields: object) -> Work:
        """Some work that runs a Python program."""
        values = {"env": {}, "token": "t0ken", "labels": _LABELS, "cpu": 0.1, "memory": 64 * 1024**2, "grace": 2.0}
        return Work(name=name, command=(self.python, "-c", program), **(values | fields))  # type: ignore[arg-type]

    def phases(self, compute: Compute, name: str = "j-1-1") -> list[Phase]:
        """The phases of the pieces, in order."""
        status = compute.status(name)
        return [] if status is None else [piece.phase for piece in status.pieces]

    def test_there_is_something_to_run_on(self, compute: Compute) -> None:
        assert all(offer.machines > 0 and offer.cpu > 0 and offer.memory > 0 for offer in compute.offers())

    def test_work_gets_its_token_and_its_environment_and_ends(self, compute: Compute) -> None:
        program = "import os; print(open(os.environ['NEUTRINO_TOKEN_FILE']).read(), os.environ['A'])"
        compute.launch(self.work(program, env={"A": "b c"}))
        until(lambda: self.phases(compute) == [Phase.SUCCEEDED])
        assert until(lambda: list(compute.logs("j-1-1"))) == ["t0ken b c"]
        compute.release("j-1-1")
        assert "j-1-1" not in compute.inventory()

    def test_a_failure_has_its_code(self, compute: Compute) -> None:
        compute.launch(self.work("raise SystemExit(7)"))
        until(lambda: self.phases(compute) == [Phase.FAILED])
        status = compute.status("j-1-1")
        assert status is not None
        assert status.gone
        assert status.pieces[0].exit_code == 7

    def test_launching_twice_is_the_same_as_once(self, compute: Compute) -> None:
        for _ in range(2):
            compute.launch(self.work(_WAITS))
        until(lambda: self.phases(compute) == [Phase.RUNNING])
        with pytest.raises(WorkExists):
            compute.launch(self.work(_WAITS, labels={**_LABELS, "neutrino/epoch": "9"}))

    def test_nodes_know_which_they_are(self, compute: Compute) -> None:
        compute.launch(self.work("import os; print(os.environ['JOB_COMPLETION_INDEX'])", nodes=3))
        until(lambda: self.phases(compute) == [Phase.SUCCEEDED] * 3)
        assert [until(lambda index=index: list(compute.logs("j-1-1", index))) for index in range(3)] == [  # type: ignore[misc]
            ["0"],
            ["1"],
            ["2"],
        ]

    def test_what_is_terminated_goes_gently_first(self, compute: Compute) -> None:
        program = f"import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); {_WAITS}"
        compute.launch(self.work(program))
        until(lambda: self.phases(compute) == [Phase.RUNNING])
        until(lambda: list(compute.logs("j-1-1")) == ["up"])
        compute.terminate("j-1-1")
        compute.terminate("j-1-1")
        until(lambda: (status := compute.status("j-1-1")) is None or status.gone)
        assert Phase.FAILED not in self.phases(compute)

    def test_what_does_not_go_gently_is_killed(self, compute: Compute) -> None:
        compute.launch(self.work(f"import signal; signal.signal(15, signal.SIG_IGN); {_WAITS}", grace=1.0))
        until(lambda: self.phases(compute) == [Phase.RUNNING])
        compute.terminate("j-1-1")
        until(lambda: (status := compute.status("j-1-1")) is None or status.gone)

    def test_what_does_not_exist_can_be_terminated_and_released(self, compute: Compute) -> None:
        compute.terminate("j-9-9")
        compute.release("j-9-9")
        assert compute.status("j-9-9") is None
