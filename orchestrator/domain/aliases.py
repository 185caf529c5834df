"""Names for versions of models, such as `digits@prod`."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from orchestrator.domain.model import Model
from orchestrator.domain.spec import Name


class SetAlias(Model):
    """Let an alias point at a version."""

    version: int = Field(ge=1, lt=2**31)


class AliasView(Model):
    """A name for one version of a model, which can be pointed at another one at any time."""

    alias: Name
    version: int
    set_by: str
    set_at: datetime
