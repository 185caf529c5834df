"""Jobs that Neutrino gives to its own workers: copy an artifact into another store, and check a copy at rest.

They are jobs like all others, so that they are stored, placed, leased, retried, logged, cancelled and explained like
all others. People do not submit them: they ask for a migration or a check, and the API, which knows what there is,
writes the document. What the worker has to do in detail is decided when it claims the job: see `Order`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from orchestrator.domain.artifact import SafePath, Sha256
from orchestrator.domain.document import parse
from orchestrator.domain.model import Line, Model
from orchestrator.domain.quantities import Memory
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.state import JobState

StoreAddress = Annotated[Line, StringConstraints(min_length=1, max_length=1024)]
TIMEOUT = 7 * 86400.0
"""Seconds that moving an artifact may take."""


class Transfer(JobSpec):
    """Make a verified copy of an artifact in another store.

    `model` is the reference that a person knows it by. With `move`, the copy in `source` is deleted afterwards.
    `limit` is in bytes per second. `paranoid` reads everything back, whatever the store has verified.
    """

    kind: ClassVar[Literal["Transfer"]] = "Transfer"
    own: ClassVar[bool] = True

    artifact: str
    model: str | None = None
    source: StoreAddress
    destination: StoreAddress
    move: bool = False
    paranoid: bool = False
    limit: Memory | None = None


class Verify(JobSpec):
    """Hash every byte of the copy of an artifact in `store`; a damaged one is lost, and is copied anew."""

    kind: ClassVar[Literal["Verify"]] = "Verify"
    own: ClassVar[bool] = True

    artifact: str
    model: str | None = None
    store: StoreAddress


_SPECS: dict[str, type[Transfer | Verify]] = {Transfer.kind: Transfer, Verify.kind: Verify}
OWN_KINDS = frozenset(_SPECS)


def read(document: Mapping[str, Any]) -> JobSpec:
    """The spec of an accepted document, whoever wrote it. Raises InvalidSpec for one of another release."""
    own = _SPECS.get(document["kind"])
    return parse(document) if own is None else own.model_validate({**document["spec"], **document["metadata"]})


class Place(Model):
    """A copy of an artifact: the store, and the prefix in it."""

    store: str
    prefix: SafePath


class Order(Model):
    """What the holder of a Transfer's or Verify's lease has to do, as things stand now.

    `target` is where the artifact with this digest shall be, or is to be checked. Without sources nothing is written.
    `sources` are good copies, the best first; `reuse` names prefixes in the target's store with files that may be the
    same. With `mend`, files that the target has already are not believed to be right, and replaced when they are not.
    `marked` tells that the target's store holds our mark, unless it is not there at all.
    """

    action: Literal["copy", "verify"]
    digest: Sha256
    size: int
    files: int
    target: Place
    sources: tuple[Place, ...] = ()
    reuse: tuple[str, ...] = ()
    mend: bool = False
    marked: bool = False
    paranoid: bool = False
    limit: int | None = None


class Migrate(Model):
    """Ask for a copy of a model version: `to` is a cloud, a pool, or the address of a pool's store. With `move`, the
    copy in `source` (the nearest, when it is not named) is deleted once nothing reads it."""

    to: Annotated[Line, StringConstraints(min_length=1, max_length=1024)]
    source: StoreAddress | None = None
    move: bool = False
    paranoid: bool = False
    limit: Memory | None = Field(default=None, ge=1024)


class VerifyCopies(Model):
    """Ask for a check of copies at rest: of all, or of the one in `store` (a cloud, a pool or an address)."""

    store: StoreAddress | None = None


class MigrationPlan(Model):
    """What a migration would do. Bytes that the destination can copy from what it holds are not in `bytes_to_move`.

    `seconds` is an estimate, `usd` the list price of the source's egress; `tariff` says from where that price is.
    """

    model: str
    artifact: str
    source: str
    destination: str
    cloud: str
    move: bool
    files: int
    total_bytes: int
    bytes_to_move: int
    seconds: float
    usd: float
    route: str
    tariff: str


class MigrationView(Model):
    """A migration, which is a job: `id` is the job's. `usd` is the price of the bytes that were really taken
    from sources; like `moved_bytes` and `seconds` it is the sum of all attempts."""

    id: str
    kind: str
    model: str | None
    artifact: str
    source: str | None
    destination: str
    move: bool
    state: JobState
    reason: str
    message: str
    progress: float | None
    user: str
    total_bytes: int | None
    moved_bytes: int | None
    seconds: float | None
    usd: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
