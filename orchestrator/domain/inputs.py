"""What a job reads: model versions and artifacts that its spec names, as `model://digits@3` and `artifact://a-10001`."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, StringConstraints

from orchestrator.domain.model import Model

MAX_INPUTS = 32
_MODEL = re.compile(r"model://(?P<name>[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:@(?P<version>[A-Za-z0-9-]{1,64}))?")
_ARTIFACT = re.compile(r"artifact://(?P<id>a-[0-9a-z]{1,16})")


class Reference(NamedTuple):
    """A model with a version (a number, an alias, or None for the newest), or an artifact."""

    model: str | None = None
    version: str | None = None
    artifact: str | None = None


def reference(text: str) -> Reference:
    """What an input's address means. Raises ValueError for one that is no such address."""
    if found := _MODEL.fullmatch(text):
        return Reference(model=found["name"], version=found["version"])
    if found := _ARTIFACT.fullmatch(text):
        return Reference(artifact=found["id"])
    raise ValueError(
        f"{text[:80]!r} names neither a model nor an artifact; write model://digits@3 or artifact://a-10001"
    )


def _is_reference(text: str) -> str:
    reference(text)
    return text


InputName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")]
"""Also the name of the folder in which the job finds the files."""
InputAddress = Annotated[str, StringConstraints(max_length=256), AfterValidator(_is_reference)]


class InputView(Model):
    """An input of a job, pinned when the job was submitted: `ref` is the version (`digits@3`) or the artifact that is
    meant, `artifact` is None when it has been deleted since. `store` is from where the newest attempt took it."""

    name: str
    ref: str
    artifact: str | None
    digest: str
    size: int
    files: int
    store: str | None = None
