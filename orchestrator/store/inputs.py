"""What jobs read: pinned when they are submitted, protected until they have ended, and found again at each claim."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict, FieldError, InvalidSpec, NotFound
from orchestrator.domain.freight import Freight, together
from orchestrator.domain.ids import AttemptId, decode, encode
from orchestrator.domain.inputs import InputView, reference
from orchestrator.domain.location import of_job
from orchestrator.domain.placement import Shape
from orchestrator.domain.protocol import Input, StagedInputs
from orchestrator.domain.spec import JobSpec
from orchestrator.domain.state import ReplicaState
from orchestrator.domain.transfer import Place
from orchestrator.domain.views import ArtifactView
from orchestrator.store import artifacts, models
from orchestrator.store.replicas import Near
from orchestrator.store.usage import NODES


@dataclass(frozen=True, slots=True)
class Pinned:
    """What an address means now, and goes on to mean for the job."""

    ref: str
    artifact: ArtifactView

    @property
    def freight(self) -> Freight:
        """The bytes, and where they lie."""
        good = (copy.store for copy in self.artifact.replicas if copy.state is ReplicaState.VERIFIED)
        return Freight(size=self.artifact.size, stores=tuple(good))


class Doubted(NamedTuple):
    """A copy that may be damaged."""

    workspace_id: int
    artifact_id: int
    store: str


_MOST = 2000  # addresses of one request: each is looked up
_MOST_FAULTS = 100

_KEEP = "SELECT id FROM artifacts WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR KEY SHARE"


def pin(connection: Connection, workspace_id: int, specs: Iterable[JobSpec]) -> dict[str, Pinned]:
    """What the inputs of these specs mean, by their addresses; none of it is deleted before the transaction ends.
    Raises InvalidSpec for those that do not exist in this workspace or have no verified copy, and for too many."""
    specs = list(specs)
    if (count := len({address for spec in specs for address in spec.inputs.values()})) > _MOST:
        fault = f"{count:,} different addresses in one request; at most {_MOST:,} are looked up"
        raise InvalidSpec.of([FieldError("spec.inputs", fault, "Submit fewer jobs at once.")])
    found: dict[str, Pinned] = {}
    faults: dict[str, FieldError] = {}
    named = [
        (f"{of_job(index, len(specs))}spec.inputs.{name}", address)
        for index, spec in enumerate(specs)
        for name, address in spec.inputs.items()
    ]
    for path, address in named:
        if address not in found and address not in faults:
            try:
                found[address] = _pinned(connection, workspace_id, address)
            except NotFound as error:
                faults[address] = FieldError(path, error.message, error.hint)
        if len(faults) == _MOST_FAULTS:
            break
    if faults:
        raise InvalidSpec.of(list(faults.values()))
    ids = {decode("a", one.artifact.id): one.ref for one in found.values()}
    kept = set(connection.execute(text(_KEEP), {"ids": list(ids)}).scalars()) if ids else set()
    if gone := sorted(ref for artifact_id, ref in ids.items() if artifact_id not in kept):
        raise InvalidSpec.of([FieldError("spec.inputs", f"{', '.join(gone)} has just been deleted")])
    return found


def _pinned(connection: Connection, workspace_id: int, address: str) -> Pinned:
    named = reference(address)
    if named.model is not None:
        version = models.version(connection, workspace_id, named.model, named.version)
        made = Pinned(version.ref, version.artifact)
    else:
        view, _ = artifacts.get(connection, workspace_id, named.artifact or "", Near())
        made = Pinned(view.id, view)
    if not made.freight.stores:
        text_ = f"{made.ref} has no verified copy that a job could read."
        raise NotFound(text_, hint=f"`neutrino model replicas {made.ref}` shows what became of them.")
    return made


def shape(spec: JobSpec, pinned: Mapping[str, Pinned], *, exact: bool = False) -> Shape:
    """What placement looks at in a spec with these inputs; `exact` for people, and else as it is kept."""
    pieces = together(pinned[address].freight for address in spec.inputs.values())
    return Shape.of(spec).model_copy(update={"freight": pieces if exact else tuple(one.rounded() for one in pieces)})


_INSERT = """
    INSERT INTO job_inputs (job_id, name, ref, artifact_id, digest, size, files)
    SELECT job_id, name, ref, artifact_id, decode(digest, 'hex'), size, files
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r(
      job_id bigint, name text, ref text, artifact_id bigint, digest text, size bigint, files int)
"""


def keep(
    connection: Connection, job_ids: Sequence[int], specs: Sequence[JobSpec], pinned: Mapping[str, Pinned]
) -> None:
    """Write down what the jobs of these specs read."""
    rows = [
        {
            "job_id": job_id,
            "name": name,
            "ref": one.ref,
            "artifact_id": decode("a", one.artifact.id),
            "digest": one.artifact.digest,
            "size": one.artifact.size,
            "files": one.artifact.files,
        }
        for job_id, spec in zip(job_ids, specs, strict=True)
        for name, one in ((name, pinned[address]) for name, address in spec.inputs.items())
    ]
    if rows:
        connection.execute(text(_INSERT), {"rows": json.dumps(rows)})


_GRANTED = """
    SELECT i.job_id, i.name, i.ref, encode(i.digest, 'hex') AS digest, i.size, (
      SELECT coalesce(jsonb_agg(jsonb_build_object('store', r.store, 'prefix', r.prefix) ORDER BY
        r.store = here.store DESC,
        EXISTS (SELECT FROM pools p WHERE p.store = r.store AND p.cloud = here.cloud AND p.region = here.region) DESC,
        EXISTS (SELECT FROM pools p WHERE p.store = r.store AND p.cloud = here.cloud) DESC,
        r.checked_at DESC, r.store), '[]')
      FROM replicas r WHERE r.artifact_id = i.artifact_id AND r.state = 'verified') AS sources
    FROM job_inputs i CROSS JOIN (SELECT * FROM pools WHERE id = :pool) AS here
    WHERE i.job_id = ANY(CAST(:jobs AS bigint[])) ORDER BY i.job_id, i.name
"""


def granted(connection: Connection, claimed: Iterable[Any], pool_id: int) -> dict[int, tuple[Input, ...]]:
    """What those of the claimed jobs that read anything find in a pool, from the nearest verified copy on."""
    readers = [job.id for job in claimed if job.document["spec"].get("inputs")]
    if not readers:
        return {}
    found: dict[int, tuple[Input, ...]] = {}
    for row in connection.execute(text(_GRANTED), {"jobs": readers, "pool": pool_id}):
        sources = tuple(Place.model_validate(one) for one in row.sources)
        one = Input(name=row.name, ref=row.ref, digest=row.digest, size=row.size, sources=sources)
        found[row.job_id] = (*found.get(row.job_id, ()), one)
    return found


_STAGED = """
    UPDATE job_inputs i SET store = s.store
    FROM unnest(CAST(:names AS text[]), CAST(:stores AS text[])) AS s(name, store)
    WHERE i.job_id = :job AND i.name = s.name
"""
# Not on several nodes: one of them may have its inputs long before another one, so copies stay until the attempt ends.
_SET = f"""
    UPDATE attempts a SET staged_at = clock_timestamp() FROM jobs j
    WHERE a.job_id = :job AND a.epoch = :epoch AND j.id = a.job_id AND {NODES} = 1
"""
_DOUBTED = """
    SELECT j.workspace_id, i.artifact_id, d.store
    FROM unnest(CAST(:names AS text[]), CAST(:stores AS text[])) AS d(name, store)
    JOIN job_inputs i ON i.name = d.name JOIN jobs j ON j.id = i.job_id
    WHERE i.job_id = :job AND i.artifact_id IS NOT NULL
"""


def staged(connection: Connection, attempt: AttemptId, told: StagedInputs) -> list[Doubted]:
    """Write down from where an attempt has taken its inputs; the caller holds the attempt. Returns the copies in which
    it has found damage."""
    about = {"job": attempt.job_id, "epoch": attempt.epoch}
    names, stores = [one.name for one in told.inputs], [one.store for one in told.inputs]
    connection.execute(text(_STAGED), {"job": attempt.job_id, "names": names, "stores": stores})
    connection.execute(text(_SET), about)
    damaged = [(one.name, store) for one in told.inputs for store in one.damaged]
    values = {"job": attempt.job_id, "names": [name for name, _ in damaged], "stores": [store for _, store in damaged]}
    rows = connection.execute(text(_DOUBTED), values) if damaged else ()
    return [Doubted(row.workspace_id, row.artifact_id, row.store) for row in rows]


def require(connection: Connection, job_id: int) -> None:
    """Raise Conflict when an input of a job that shall run again is not there any more; the others stay until it has
    ended, once the job is queued in this transaction."""
    statement = """
        SELECT i.ref FROM job_inputs i LEFT JOIN artifacts c ON c.id = i.artifact_id
        WHERE i.job_id = :job AND c.id IS NULL ORDER BY i.name
    """
    keep_them = """
        SELECT FROM artifacts WHERE id IN (SELECT artifact_id FROM job_inputs WHERE job_id = :job)
        ORDER BY id FOR KEY SHARE
    """
    connection.execute(text(keep_them), {"job": job_id})
    if gone := list(connection.execute(text(statement), {"job": job_id}).scalars()):
        raise Conflict(
            f"Job {encode('j', job_id)} cannot run again: its input {', '.join(gone)} has been deleted.",
            hint="Submit it anew with another input.",
        )


_VIEWS = """
    SELECT name, ref, artifact_id, encode(digest, 'hex') AS digest, size, files, store
    FROM job_inputs WHERE job_id = :job ORDER BY name
"""


def views(connection: Connection, job_id: int) -> tuple[InputView, ...]:
    """What a job reads."""
    return tuple(
        InputView(
            name=row.name,
            ref=row.ref,
            artifact=None if row.artifact_id is None else encode("a", row.artifact_id),
            digest=row.digest,
            size=row.size,
            files=row.files,
            store=row.store,
        )
        for row in connection.execute(text(_VIEWS), {"job": job_id})
    )
