"""Filters that people have given a name: their own, or shared with the workspace."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from orchestrator.domain.errors import Conflict

SHARED = ""
"""The owner of a view that everybody in the workspace has."""
MOST = 100


@dataclass(frozen=True, slots=True)
class SavedView:
    """A view: `query` is what stands in the address of the list."""

    name: str
    query: str
    shared: bool


def views(connection: Connection, workspace_id: int, user: str) -> list[SavedView]:
    """The views of a person and the shared ones, by name."""
    statement = """
        SELECT name, query, user_name = '' AS shared FROM saved_views
        WHERE workspace_id = :workspace AND user_name IN (:user, '') ORDER BY user_name = '', name
    """
    rows = connection.execute(text(statement), {"workspace": workspace_id, "user": user})
    return [SavedView(row.name, row.query, row.shared) for row in rows]


def save(connection: Connection, workspace_id: int, owner: str, name: str, query: str) -> None:
    """Keep a view under a name; one of that name is replaced. Raises Conflict when the owner has MOST already."""
    statement = """
        INSERT INTO saved_views (workspace_id, user_name, name, query)
        SELECT :workspace, :owner, :name, :query
        WHERE :most > (SELECT count(*) FROM saved_views
                       WHERE workspace_id = :workspace AND user_name = :owner AND name <> :name)
        ON CONFLICT (workspace_id, user_name, name) DO UPDATE SET query = excluded.query
        RETURNING 1
    """
    values = {"workspace": workspace_id, "owner": owner, "name": name, "query": query, "most": MOST}
    if connection.execute(text(statement), values).one_or_none() is None:
        raise Conflict(f"There are {MOST} saved views already.", hint="Delete one that is not needed any more.")


def delete(connection: Connection, workspace_id: int, owner: str, name: str) -> None:
    """Forget a view; it is well when there is none."""
    statement = "DELETE FROM saved_views WHERE workspace_id = :workspace AND user_name = :owner AND name = :name"
    connection.execute(text(statement), {"workspace": workspace_id, "owner": owner, "name": name})
