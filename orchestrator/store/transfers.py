"""The jobs that copy and check artifacts: begun here, told what to do when they are claimed, and their ends drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict, FieldError, InvalidSpec, NotFound
from orchestrator.domain.freight import cloud_of
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.protocol import Report
from orchestrator.domain.spec import Cloud, Placement
from orchestrator.domain.state import JobState, Reason, ReplicaState
from orchestrator.domain.transfer import OWN_KINDS, TIMEOUT, MigrationView, Order, Place, Transfer, Verify
from orchestrator.domain.views import JobSummary, ModelVersionView
from orchestrator.store import garbage, jobs, replicas, targets
from orchestrator.store.replicas import Near

SYSTEM = "neutrino"
"""The user in whose name Neutrino itself starts jobs."""


def start(
    connection: Connection,
    workspace_id: int,
    user: str,
    *,
    artifact_id: int,
    source: str,
    destination: str,
    model: str | None = None,
    move: bool = False,
    paranoid: bool = False,
    limit: int | None = None,
    name: str | None = None,
) -> int:
    """Begin to copy an artifact into another store, in this transaction; returns the job's row id. The copy is seen by
    readers once all of it is verified. Raises Conflict when it is there already, or somebody is copying it there."""
    spec = Transfer(
        name=name or _name("migrate", model),
        artifact=encode("a", artifact_id),
        model=model,
        source=source,
        destination=destination,
        move=move,
        paranoid=paranoid,
        limit=limit,
        placement=_near(connection, source, destination),
        timeout=TIMEOUT,
    )
    (job_id,) = jobs.submit(connection, workspace_id, user, [spec])
    prefix = f"artifacts/{workspace_id}/{encode('j', job_id)}/copy"
    if not replicas.begin(connection, artifact_id, destination, prefix, job_id):
        raise _taken(replicas.find(connection, artifact_id, destination), model or spec.artifact)
    return job_id


def check(
    connection: Connection, workspace_id: int, user: str, *, artifact_id: int, store: str, model: str | None = None
) -> int:
    """Begin to hash every byte of a copy; returns the job's row id. One that is known to be damaged is mended at once.
    Raises Conflict when there is no such copy, or a job is at work on it."""
    row = replicas.find(connection, artifact_id, store)
    if row is not None and row.state == "lost" and row.job_id is None:
        return _mend(connection, workspace_id, user, artifact_id, store, model)
    artifact = encode("a", artifact_id)
    spec = Verify(
        name=_name("verify", model),
        artifact=artifact,
        model=model,
        store=store,
        placement=_near(connection, store),
        timeout=TIMEOUT,
    )
    (job_id,) = jobs.submit(connection, workspace_id, user, [spec])
    if not replicas.hold(connection, artifact_id, store, job_id):
        raise _taken(row, model or artifact)
    return job_id


def check_all(
    connection: Connection, workspace_id: int, user: str, version: ModelVersionView, where: str | None
) -> list[int]:
    """Begin to check the copies of a model version, or the one at `where`; returns the row ids of the jobs. Copies at
    which somebody is at work already are left alone, unless they were named. Raises Conflict when there is none."""
    store = None if where is None else targets.resolve(connection, where).store
    copies = [
        copy.store
        for copy in version.artifact.replicas
        if (copy.store == store)
        or (store is None and copy.job is None and copy.state in {ReplicaState.VERIFIED, ReplicaState.LOST})
    ]
    if not copies:
        text_ = f"There is no copy of {version.ref} to check" + (f" in {store}." if store else ".")
        raise Conflict(text_, hint=f"`neutrino model replicas {version.ref}` lists them.")
    artifact_id = decode("a", version.artifact.id)
    return [
        check(connection, workspace_id, user, artifact_id=artifact_id, store=copy, model=version.ref) for copy in copies
    ]


def _mend(connection: Connection, workspace_id: int, user: str, artifact_id: int, store: str, model: str | None) -> int:
    good = replicas.sources(connection, artifact_id, Near(store=store))
    what = model or encode("a", artifact_id)
    if not good:
        raise Conflict(
            f"The copy of {what} in {store} is damaged, and there is no good one to mend it from.",
            hint="Train it again, or put back a backup of the store and verify it.",
        )
    return start(
        connection,
        workspace_id,
        user,
        artifact_id=artifact_id,
        source=good[0].store,
        destination=store,
        model=model,
        paranoid=True,
    )


def refuse_taken(connection: Connection, artifact_id: int, store: str, what: str) -> None:
    """Raise Conflict when the artifact is in that store already, or a job is at work on its copy there. `what` is how
    people know it."""
    row = replicas.find(connection, artifact_id, store)
    if row is not None and not (row.state == "lost" and row.job_id is None):
        raise _taken(row, what)


def _taken(row: Any, what: str) -> Conflict:
    if row is None:
        return Conflict(f"There is no copy of {what} in that store.", hint="`neutrino model replicas` lists them.")
    if row.job_id is not None:
        job = encode("j", row.job_id)
        hint = f"Wait for it with `neutrino migration wait {job}`."
        return Conflict(f"Job {job} is already at work on the copy of {what} in {row.store}.", hint=hint, job=job)
    if row.state == "stale":
        hint = "Try again in some minutes."
        return Conflict(f"The copy of {what} in {row.store} has been moved away and is being deleted.", hint=hint)
    return Conflict(f"{what} is in {row.store} already, {row.state}.", hint="There is nothing to copy.")


def _name(verb: str, model: str | None) -> str:
    """A job's name says what it is about: `migrate-digits`."""
    return f"{verb}-{model.partition('@')[0]}"[:63].rstrip("-") if model else f"{verb}-artifact"


def _near(connection: Connection, *stores: str) -> Placement:
    """Workers next to one of these stores do the work: they have its credentials."""
    rows = connection.execute(
        text("SELECT DISTINCT store, cloud FROM pools WHERE store = ANY(CAST(:stores AS text[]))"),
        {"stores": list(stores)},
    ).all()
    known = {row.store for row in rows}
    clouds = {row.cloud for row in rows} | {cloud_of(store) for store in stores if store not in known}
    return Placement(clouds=tuple(Cloud(cloud) for cloud in sorted(clouds.intersection(Cloud))))


_ARTIFACT = """
    SELECT encode(digest, 'hex') AS digest, size, files FROM artifacts WHERE id = :id AND workspace_id = :workspace
"""


def orders(connection: Connection, claimed: Iterable[Any], pool_id: int) -> dict[int, Order]:
    """What those of the claimed jobs that are of our own kinds have to do, as things stand now. One for which there is
    nothing left to do, or nothing to do it with, has no order."""
    ours = [job for job in claimed if job.document["kind"] in OWN_KINDS]
    if not ours:
        return {}
    statement = "SELECT store, cloud, region FROM pools WHERE id = :pool"
    pool = connection.execute(text(statement), {"pool": pool_id}).one()
    near = Near(pool.store, pool.cloud, pool.region)
    return {job.id: order for job in ours if (order := _order(connection, job, near))}


def _order(connection: Connection, job: Any, near: Near) -> Order | None:
    target = replicas.held_by(connection, job.id)
    if target is None:
        return None
    values = {"id": target.artifact_id, "workspace": job.workspace_id}
    artifact = connection.execute(text(_ARTIFACT), values).one()
    common: dict[str, Any] = {
        "digest": artifact.digest,
        "size": artifact.size,
        "files": artifact.files,
        "target": Place(store=target.store, prefix=target.prefix),
        "marked": garbage.is_marked(connection, target.store),
    }
    if job.document["kind"] == Verify.kind:
        return Order(action="verify", **common)
    spec = Transfer.model_validate({**job.document["spec"], **job.document["metadata"]})
    good = replicas.sources(connection, target.artifact_id, near)
    good.sort(key=lambda place: place.store != spec.source)  # the one that was planned with; the others in their order
    if not good:
        return None
    return Order(
        action="copy",
        sources=tuple(good),
        reuse=replicas.reusable(connection, target.artifact_id, target.store),
        mend=target.state == "lost",
        paranoid=spec.paranoid,
        limit=spec.limit,
        **common,
    )


def ended(connection: Connection, job: Any, report: Report, state: JobState) -> None:
    """Draw the conclusions from the end of an attempt at one of our own kinds, in the transaction of that end; the
    caller holds the attempt. `state` is where the job went."""
    spec = job.document["spec"]
    if job.document["kind"] == Verify.kind:
        if state is JobState.SUCCEEDED:
            replicas.checked(connection, job.id)
        elif state is JobState.FAILED and report.reason is Reason.DAMAGED:
            _lost(connection, job, spec, report.message)
        return
    if state is not JobState.SUCCEEDED:
        return
    if report.output is None:
        raise InvalidSpec.of([FieldError("output", "a transfer says what it has copied, and where to")])
    artifact_id = replicas.landed(connection, job.id, report.output)
    if artifact_id is not None and spec.get("move"):
        replicas.retire(connection, artifact_id, spec["source"])


def _lost(connection: Connection, job: Any, spec: Any, why: str) -> None:
    artifact_id, store = decode("a", spec["artifact"]), spec["store"]
    was = replicas.lose(connection, artifact_id, store, why)
    if was is None or not replicas.sources(connection, artifact_id, Near(store=store)):
        return
    if was == ReplicaState.STALE:  # moved away while it was being checked: mended, it would be back for good
        replicas.drop(connection, artifact_id, store)
    else:
        _mend(connection, job.workspace_id, SYSTEM, artifact_id, store, spec.get("model"))


_VIEWS = f"""
    SELECT {jobs.SUMMARY_COLUMNS}, j.document,
      (SELECT jsonb_object_agg(name, CASE name WHEN 'transfer/total_bytes' THEN largest ELSE sum END) FROM (
         SELECT name, sum(value), max(value) AS largest FROM metrics WHERE job_id = j.id GROUP BY name) AS attempts
      ) AS told
    FROM {jobs.SUMMARY_TABLES}
"""
_OF_MODEL = "split_part(j.document #>> '{spec,model}', '@', 1) = :model"
_OPEN = "j.finished_at IS NULL"


def page(
    connection: Connection, workspace_id: int, *, model: str | None, open_only: bool, before: int | None, limit: int
) -> tuple[list[MigrationView], int | None]:
    """The newest migrations, and the id below which the next page begins. `model` is a name, without a version;
    `open_only` leaves out those that have ended."""
    asked = "".join(f" AND {one}" for one, wanted in ((_OF_MODEL, model is not None), (_OPEN, open_only)) if wanted)
    statement = f"""{_VIEWS}
        WHERE j.workspace_id = :workspace AND j.kind = 'Transfer'{asked}
          AND (CAST(:before AS bigint) IS NULL OR j.id < :before)
        ORDER BY j.id DESC LIMIT :limit
    """
    named = {} if model is None else {"model": model}
    values = named | {"workspace": workspace_id, "before": before, "limit": limit + 1}
    rows = list(connection.execute(text(statement), values))
    return _views(connection, rows[:limit]), rows[limit - 1].id if len(rows) > limit else None


def get(connection: Connection, workspace_id: int, public_id: str) -> MigrationView:
    """One migration, or one check of a copy. Raises NotFound for any other job."""
    statement = f"{_VIEWS} WHERE j.workspace_id = :workspace AND j.kind IN ('Transfer', 'Verify') AND j.id = :id"
    values = {"workspace": workspace_id, "id": decode("j", public_id)}
    row = connection.execute(text(statement), values).one_or_none()
    if row is None:
        raise NotFound(f"There is no migration {public_id} in this workspace.", hint="`neutrino migration list`.")
    return _views(connection, [row])[0]


def view(connection: Connection, job_id: int) -> MigrationView:
    """The migration with this row id; the caller has made sure of the workspace."""
    row = connection.execute(text(f"{_VIEWS} WHERE j.id = :id"), {"id": job_id}).one()
    return _views(connection, [row])[0]


def _views(connection: Connection, rows: Sequence[Any]) -> list[MigrationView]:
    return [_view(row, summary) for row, summary in zip(rows, jobs.views(connection, rows), strict=True)]


def _view(row: Any, job: JobSummary) -> MigrationView:
    spec, told = row.document["spec"], row.told or {}
    moved = told.get("transfer/sent_bytes")
    return MigrationView(
        id=job.id,
        kind=job.kind,
        model=spec.get("model"),
        artifact=spec["artifact"],
        source=spec.get("source"),
        destination=spec.get("destination") or spec["store"],
        move=spec.get("move", False),
        state=job.state,
        reason=job.reason,
        message=job.message,
        progress=job.progress,
        user=job.user,
        total_bytes=None if moved is None else int(told["transfer/total_bytes"]),
        moved_bytes=None if moved is None else int(moved),
        seconds=told.get("transfer/seconds"),
        usd=told.get("transfer/usd"),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
