"""Who runs which tests when several processes do (`-n 2 --dist loadfile`): what shares servers stays together, and the
long ones begin first, so that the short ones fill up the end."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

# Folders whose files share servers that take long to start, and long files; the longest first.
LONGEST = (
    "tests/integration/registry/",
    "tests/integration/moves/",
    "tests/acceptance/",
    "tests/integration/cli/",
)


class Longest(LoadFileScheduling):  # type: ignore[misc]
    """Gives out files, or whole folders of LONGEST, in that order; then the others, those of most tests first."""

    def _split_scope(self, nodeid: str) -> str:
        return next(filter(nodeid.startswith, LONGEST), super()._split_scope(nodeid))

    def _assign_work_unit(self, node: object) -> None:
        known = [scope for scope in LONGEST if scope in self.workqueue]
        for scope in known[:1]:
            self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """What pytest-xdist asks for."""
    return Longest(config, log) if config.getvalue("dist") == "loadfile" else None
