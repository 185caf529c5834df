"""Downloads that take long: known here, so that the copy which they read is not deleted under them.

A short one needs no row: a copy that was moved away stays for minutes anyway.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

LIVES_SECONDS = 120.0
"""A reader that says nothing for so long is taken for gone."""


def begin(connection: Connection, artifact_id: int, store: str) -> int:
    """Somebody reads a copy; returns the reader's row id."""
    statement = """
        INSERT INTO readers (artifact_id, store, until)
        SELECT id, :store, clock_timestamp() + :lives * interval '1 second' FROM artifacts WHERE id = :artifact
        RETURNING id
    """
    values = {"artifact": artifact_id, "store": store, "lives": LIVES_SECONDS}
    return int(connection.execute(text(statement), values).scalar() or 0)


def go_on(connection: Connection, reader_id: int) -> None:
    """The reader still reads."""
    statement = "UPDATE readers SET until = clock_timestamp() + :lives * interval '1 second' WHERE id = :id"
    connection.execute(text(statement), {"id": reader_id, "lives": LIVES_SECONDS})


def end(connection: Connection, reader_id: int) -> None:
    """The reader is done. Those that never said so, because their process died, are forgotten as well."""
    statement = "DELETE FROM readers WHERE id = :id OR until < clock_timestamp() - interval '1 hour'"
    connection.execute(text(statement), {"id": reader_id})
