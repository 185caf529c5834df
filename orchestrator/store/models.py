"""The model registry: names, versions, aliases, and what each version is made of."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.aliases import AliasView
from orchestrator.domain.errors import Conflict, NotFound, nearest
from orchestrator.domain.ids import decode, encode
from orchestrator.domain.views import ModelVersionView, ModelView, Page
from orchestrator.store import artifacts, replicas

LATEST = "latest"

_VERSIONS = f"""
    SELECT m.name, v.version, v.metrics, v.lineage, v.created_at AS registered_at, m.created_at AS model_created_at,
      m.versions, {artifacts.COLUMNS},
      ARRAY(SELECT alias FROM model_aliases n WHERE n.model_id = v.model_id AND n.version = v.version ORDER BY alias)
        AS aliases
    FROM models m JOIN model_versions v ON v.model_id = m.id JOIN artifacts c ON c.id = v.artifact_id
"""
_NEWEST = "(SELECT max(version) FROM model_versions n WHERE n.model_id = m.id)"


def _version(row: Row[Any]) -> ModelVersionView:
    return ModelVersionView(
        ref=f"{row.name}@{row.version}",
        name=row.name,
        version=row.version,
        artifact=artifacts.view(row),
        metrics=row.metrics,
        lineage=row.lineage,
        created_at=row.registered_at,
        aliases=tuple(row.aliases),
    )


def page(connection: Connection, workspace_id: int, *, after: str | None, limit: int) -> Page[ModelView]:
    """Models by name, after the name `after`, each with its newest version."""
    statement = f"""{_VERSIONS}
        WHERE m.workspace_id = :workspace AND v.version = {_NEWEST}
          AND (CAST(:after AS text) IS NULL OR m.name > :after)
        ORDER BY m.name LIMIT :limit
    """
    rows = list(connection.execute(text(statement), {"workspace": workspace_id, "after": after, "limit": limit + 1}))
    items = tuple(
        ModelView(name=row.name, versions=row.versions, latest=_version(row), created_at=row.model_created_at)
        for row in rows[:limit]
    )
    return Page(items=items, next=items[-1].name if len(rows) > limit else None)


def versions(
    connection: Connection, workspace_id: int, name: str, *, before: int | None, limit: int
) -> Page[ModelVersionView]:
    """A model's versions, newest first. Raises NotFound when there is no such model."""
    statement = f"""{_VERSIONS}
        WHERE m.workspace_id = :workspace AND m.name = :name AND (CAST(:before AS int) IS NULL OR v.version < :before)
        ORDER BY v.version DESC LIMIT :limit
    """
    values = {"workspace": workspace_id, "name": name, "before": before, "limit": limit + 1}
    rows = list(connection.execute(text(statement), values))
    if not rows and before is None:
        raise _missing(connection, workspace_id, name)
    items = tuple(_version(row) for row in rows[:limit])
    return Page(items=items, next=str(items[-1].version) if len(rows) > limit else None)


def version(connection: Connection, workspace_id: int, name: str, which: str | int | None) -> ModelVersionView:
    """One version of a model, by its number or an alias; None or `latest` means the newest. Raises NotFound."""
    number, alias = _which(which)
    statement = f"""{_VERSIONS}
        WHERE m.workspace_id = :workspace AND m.name = :name AND v.version = CASE
          WHEN CAST(:alias AS text) IS NOT NULL
            THEN (SELECT n.version FROM model_aliases n WHERE n.model_id = m.id AND n.alias = :alias)
          ELSE coalesce(CAST(:number AS int), {_NEWEST}) END
    """
    values = {"workspace": workspace_id, "name": name, "number": number, "alias": alias}
    row = connection.execute(text(statement), values).one_or_none()
    if row is not None:
        return _version(row)
    if number is None and alias is None:
        raise _missing(connection, workspace_id, name)
    newest = version(connection, workspace_id, name, None)
    if alias is None:
        raise NotFound(f"Model {name} has no version {number}; the newest is {newest.ref}.", suggestions=[newest.ref])
    known = [one.alias for one in aliases(connection, workspace_id, name)] + [LATEST]
    guess = nearest(alias, known)
    hint = f"Did you mean {name}@{guess}?" if guess else f"Write a number, or one of its aliases: {', '.join(known)}."
    raise NotFound(f"Model {name} has no version {alias[:80]!r}.", hint=hint, suggestions=[guess] if guess else [])


def count(connection: Connection, workspace_id: int, name: str) -> int:
    """How many versions of a model there are now."""
    statement = """
        SELECT count(*) FROM model_versions v JOIN models m ON m.id = v.model_id
        WHERE m.workspace_id = :workspace AND m.name = :name
    """
    found: int = connection.execute(text(statement), {"workspace": workspace_id, "name": name}).scalar_one()
    return found


def _which(which: str | int | None) -> tuple[int | None, str | None]:
    """A version as a number or an alias; neither for the newest."""
    if which is None or which == LATEST:
        return None, None
    text_ = str(which)
    if text_.isascii() and text_.isdigit():
        return (int(text_), None) if len(text_) < 10 else (0, None)
    return None, text_


def _missing(connection: Connection, workspace_id: int, name: str) -> NotFound:
    statement = "SELECT name FROM models WHERE workspace_id = :workspace ORDER BY name LIMIT 1000"
    known = list(connection.execute(text(statement), {"workspace": workspace_id}).scalars())
    guess = nearest(name, [one for one in known if one != name])
    hint = f"Did you mean {guess!r}?" if guess else "`neutrino model list` shows all."
    text_ = f"There is no model {name!r} in this workspace."
    return NotFound(text_, hint=hint, suggestions=[guess] if guess else [])


def aliases(connection: Connection, workspace_id: int, name: str) -> list[AliasView]:
    """A model's aliases by name."""
    statement = """
        SELECT n.* FROM model_aliases n JOIN models m ON m.id = n.model_id
        WHERE m.workspace_id = :workspace AND m.name = :name ORDER BY n.alias
    """
    rows = connection.execute(text(statement), {"workspace": workspace_id, "name": name})
    return [AliasView(alias=row.alias, version=row.version, set_by=row.set_by, set_at=row.set_at) for row in rows]


_SET_ALIAS = """
    INSERT INTO model_aliases (model_id, alias, version, set_by)
    SELECT v.model_id, :alias, v.version, :user FROM model_versions v JOIN models m ON m.id = v.model_id
    WHERE m.workspace_id = :workspace AND m.name = :name AND v.version = :version
    ON CONFLICT (model_id, alias) DO UPDATE
      SET version = excluded.version, set_by = excluded.set_by, set_at = clock_timestamp()
"""


def _hold(connection: Connection, workspace_id: int, name: str) -> None:
    """Whoever names a version and whoever deletes one take turns."""
    lock = "SELECT FROM models WHERE workspace_id = :workspace AND name = :name FOR UPDATE"
    connection.execute(text(lock), {"workspace": workspace_id, "name": name})


def set_alias(connection: Connection, workspace_id: int, name: str, alias: str, number: int, user: str) -> AliasView:
    """Let an alias point at a version, wherever it pointed before. Raises NotFound when there is no such version, and
    Conflict for a name that means something else."""
    if alias == LATEST or alias.isdigit():
        raise Conflict(f"{alias!r} cannot be an alias: it names a version already.", hint="Choose a word such as prod.")
    _hold(connection, workspace_id, name)
    version(connection, workspace_id, name, number)
    values = {"workspace": workspace_id, "name": name, "alias": alias, "version": number, "user": user}
    connection.execute(text(_SET_ALIAS), values)
    return next(one for one in aliases(connection, workspace_id, name) if one.alias == alias)


def remove_alias(connection: Connection, workspace_id: int, name: str, alias: str) -> None:
    """Forget an alias; the version stays. Raises NotFound."""
    statement = """
        DELETE FROM model_aliases n USING models m
        WHERE m.id = n.model_id AND m.workspace_id = :workspace AND m.name = :name AND n.alias = :alias
    """
    values = {"workspace": workspace_id, "name": name, "alias": alias}
    if not connection.execute(text(statement), values).rowcount:
        raise NotFound(f"Model {name} has no alias {alias[:80]!r}.", hint=f"`neutrino model list {name}` shows them.")


# What has not ended and reads the version, names it anywhere in its document, or moves or checks its artifact.
_USERS = """
    SELECT id FROM jobs
    WHERE workspace_id = :workspace AND id > :above AND state IN ('QUEUED', 'DISPATCHED', 'RUNNING', 'CANCELLING')
      AND jsonb_path_exists(document, '$.spec.** ? (@ == $names[*])',
        jsonb_build_object('names', CAST(:names AS jsonb)))
    UNION
    SELECT i.job_id FROM job_inputs i JOIN jobs j ON j.id = i.job_id
    WHERE i.artifact_id = :artifact AND j.finished_at IS NULL
    ORDER BY id LIMIT 5
"""
# Whoever is about to read it has it locked until that is written down.
_HOLD = "SELECT FROM artifacts WHERE id = :artifact FOR UPDATE"
_NEWEST_JOB = "SELECT coalesce(max(id), 0) FROM jobs WHERE workspace_id = :workspace"


def delete(connection: Connection, workspace_id: int, name: str, which: str) -> ModelVersionView:
    """Delete a version with all of its copies; its number is never given again. Raises Conflict naming who uses it."""
    looked_at: int = connection.execute(text(_NEWEST_JOB), {"workspace": workspace_id}).scalar_one()
    # Every job is looked at before the model is held: that may take long, and reports of its next version would wait.
    _unused(connection, workspace_id, name, which, above=0)
    _hold(connection, workspace_id, name)
    artifact = decode("a", version(connection, workspace_id, name, which).artifact.id)
    connection.execute(text(_HOLD), {"artifact": artifact})
    found = _unused(connection, workspace_id, name, which, above=looked_at)
    statement = """
        DELETE FROM model_versions v USING models m
        WHERE m.id = v.model_id AND m.workspace_id = :workspace AND m.name = :name AND v.version = :version
    """
    connection.execute(text(statement), {"workspace": workspace_id, "name": name, "version": found.version})
    replicas.throw_artifacts_away(connection, [decode("a", found.artifact.id)])
    return found


def _unused(connection: Connection, workspace_id: int, name: str, which: str, *, above: int) -> ModelVersionView:
    """A version that neither an alias names nor a job above this row id; raises Conflict naming who does."""
    found = version(connection, workspace_id, name, which)
    if found.aliases:
        named = ", ".join(f"{name}@{alias}" for alias in found.aliases)
        hint = f"Point it at another version, or remove it with `neutrino model alias {name} {found.aliases[0]}=`."
        raise Conflict(f"{found.ref} is used as {named}.", hint=hint)
    newest = version(connection, workspace_id, name, None)
    names = [found.ref, found.artifact.id, *([name, f"{name}@{LATEST}"] if found.ref == newest.ref else [])]
    values = {
        "workspace": workspace_id,
        "names": json.dumps(names),
        "above": above,
        "artifact": decode("a", found.artifact.id),
    }
    if users := [encode("j", row.id) for row in connection.execute(text(_USERS), values)]:
        raise Conflict(
            f"{found.ref} is used by {', '.join(users)}.", hint="Wait for these jobs or cancel them.", users=users
        )
    return found
