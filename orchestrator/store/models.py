"""The model registry: names, versions, and what each version is made of."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, text

from orchestrator.domain.errors import NotFound, nearest
from orchestrator.domain.views import ModelVersionView, ModelView, Page
from orchestrator.store import artifacts

_VERSIONS = f"""
    SELECT m.name, v.version, v.metrics, v.lineage, v.created_at AS registered_at, m.created_at AS model_created_at,
      m.versions, {artifacts.COLUMNS}
    FROM models m JOIN model_versions v ON v.model_id = m.id JOIN artifacts c ON c.id = v.artifact_id
"""


def _version(row: Row[Any]) -> ModelVersionView:
    return ModelVersionView(
        ref=f"{row.name}@{row.version}",
        name=row.name,
        version=row.version,
        artifact=artifacts.view(row),
        metrics=row.metrics,
        lineage=row.lineage,
        created_at=row.registered_at,
    )


def page(connection: Connection, workspace_id: int, *, after: str | None, limit: int) -> Page[ModelView]:
    """Models by name, after the name `after`, each with its newest version."""
    statement = f"""{_VERSIONS}
        WHERE m.workspace_id = :workspace AND v.version = m.versions
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


def version(connection: Connection, workspace_id: int, name: str, number: int | None) -> ModelVersionView:
    """One version of a model; None means the newest. Raises NotFound."""
    statement = f"""{_VERSIONS}
        WHERE m.workspace_id = :workspace AND m.name = :name AND v.version = coalesce(CAST(:number AS int), m.versions)
    """
    values = {"workspace": workspace_id, "name": name, "number": number}
    row = connection.execute(text(statement), values).one_or_none()
    if row is None and number is not None:
        newest = version(connection, workspace_id, name, None)
        raise NotFound(f"Model {name} has no version {number}; the newest is {newest.ref}.", suggestions=[newest.ref])
    if row is None:
        raise _missing(connection, workspace_id, name)
    return _version(row)


def _missing(connection: Connection, workspace_id: int, name: str) -> NotFound:
    statement = "SELECT name FROM models WHERE workspace_id = :workspace ORDER BY name LIMIT 1000"
    known = list(connection.execute(text(statement), {"workspace": workspace_id}).scalars())
    guess = nearest(name, known)
    hint = f"Did you mean {guess!r}?" if guess else "`neutrino model list` shows all."
    return NotFound(f"There is no model {name!r} in this workspace.", hint=hint, suggestions=[guess] if guess else [])
