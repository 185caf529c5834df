"""Files that users named for their jobs, by content. The same file sent twice is kept once."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

from orchestrator.domain.errors import FieldError, InvalidSpec, NotFound
from orchestrator.domain.spec import Command, JobSpec


def put(connection: Connection, workspace_id: int, sha256: str, content: bytes) -> None:
    """Keep a file; the caller has checked that its hash is `sha256`."""
    statement = """
        INSERT INTO source_files (workspace_id, sha256, size, content)
        VALUES (:workspace, decode(:sha256, 'hex'), :size, :content) ON CONFLICT DO NOTHING
    """
    values = {"workspace": workspace_id, "sha256": sha256, "size": len(content), "content": content}
    connection.execute(text(statement), values)


def get(connection: Connection, workspace_id: int, sha256: str) -> bytes:
    """A file's content. Raises NotFound."""
    statement = "SELECT content FROM source_files WHERE workspace_id = :workspace AND sha256 = decode(:sha256, 'hex')"
    row = connection.execute(text(statement), {"workspace": workspace_id, "sha256": sha256}).one_or_none()
    if row is None:
        raise NotFound(f"There is no file {sha256} in this workspace.")
    return bytes(row.content)


def has(connection: Connection, workspace_id: int, sha256: str) -> bool:
    """True when the file is here."""
    return not missing(connection, workspace_id, [sha256])


def missing(connection: Connection, workspace_id: int, hashes: Iterable[str]) -> set[str]:
    """Those of `hashes` under which no file is kept."""
    statement = """
        SELECT wanted FROM unnest(CAST(:hashes AS text[])) AS wanted
        WHERE NOT EXISTS (
          SELECT FROM source_files f WHERE f.workspace_id = :workspace AND f.sha256 = decode(wanted, 'hex'))
    """
    values = {"workspace": workspace_id, "hashes": list(set(hashes))}
    return set(connection.execute(text(statement), values).scalars())


def require(connection: Connection, workspace_id: int, specs: Iterable[JobSpec]) -> None:
    """Raise InvalidSpec unless every file that the specs name has been uploaded."""
    named = [(index, file) for spec in specs if isinstance(spec, Command) for index, file in enumerate(spec.files)]
    if not named:
        return
    absent = missing(connection, workspace_id, (file.sha256 for _, file in named))
    faults = [
        FieldError(
            f"spec.files[{index}].sha256",
            f"{file.path} has not been uploaded",
            f"PUT /v1/files/{file.sha256}",
        )
        for index, file in named
        if file.sha256 in absent
    ]
    if faults:
        raise InvalidSpec.of(faults)
