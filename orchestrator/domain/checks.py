"""What a look at an installation finds."""

from __future__ import annotations

from orchestrator.domain.model import Model


class StoreCheck(Model):
    """What the API could do in an object store with an object of its own. `fault` says what failed, `hint` what may
    mend it."""

    store: str
    pools: tuple[str, ...]
    can_read: bool
    can_write: bool
    fault: str | None = None
    hint: str | None = None
