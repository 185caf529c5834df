"""Folders and files that only their owner may read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestrator.embedded.errors import DataFolderError


def passable() -> int:
    """The mode for a folder that holds a server's data: the account that root runs it as must pass through."""
    return 0o711 if os.geteuid() == 0 else 0o700


def make(path: Path, mode: int = 0o700) -> Path:
    """The folder, made with `mode` if it was missing, and proven writable.

    Folders that exist keep their mode: whoever made them had a reason.

    Raises:
        DataFolderError: it cannot be made or written.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True)
            path.chmod(mode)  # whatever the umask is
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: OSError) -> DataFolderError:
    """The error for a folder that the system denies us."""
    return DataFolderError(
        f"The folder {path} cannot be used: {error.strerror or error}.",
        hint="Choose another with --data-dir, or make this one writable.",
        path=str(path),
    )


def write(path: Path, text: str) -> None:
    """Replace a file's content in one step; only the owner may read it.

    A crash leaves the old content or the new, never half of it: the text is on disk before the name
    points to it.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path) -> str | None:
    """A file's text without the blanks around it, or None when there is no such file or nothing in it."""
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
