"""Who runs which tests when several processes do (`-n 2 --dist loadfile`): what shares servers stays together, and the
long ones begin first, so that the short ones fill up the end."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

# Folders whose files share servers that take long to start: one process runs each of them as a whole.
TOGETHER = ("tests/integration/registry/", "tests/integration/moves/", "tests/integration/cli/")

# Folders of long files, the longest first; what is not here is short.
FIRST = (
    *TOGETHER,
    "tests/acceptance/",
    "tests/contract/",
    "tests/kube/",
    "tests/browser/",
    "tests/integration/embedded/",
    "tests/integration/workers/",
    "tests/helm/",
    "tests/unit/learning/",
    "tests/integration/",
)


class Longest(LoadFileScheduling):  # type: ignore[misc]
    """Gives out files, or whole folders of TOGETHER: in the order of FIRST, then those of most tests."""

    def _split_scope(self, nodeid: str) -> str:
        return next(filter(nodeid.startswith, TOGETHER), super()._split_scope(nodeid))

    def _assign_work_unit(self, node: object) -> None:
        longest = min(self.workqueue, key=_rank)  # of equals the first, which has the most tests
        self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def _rank(scope: str) -> int:
    return next((rank for rank, folder in enumerate(FIRST) if scope.startswith(folder)), len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """What pytest-xdist asks for."""
    return Longest(config, log) if config.getvalue("dist") == "loadfile" else None
