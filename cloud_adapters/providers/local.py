"""Folders as an object store: `file:///absolute/folder`. Objects appear by a rename, after they are on the disk."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from cloud_adapters.base import CHUNK_BYTES, ObjectInfo
from cloud_adapters.errors import (
    AccessDenied,
    InvalidStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreFull,
    TransientStoreError,
)

_PARTIAL = ".partial-"
_TRIES = 100
_BY_ERRNO: dict[int, type[StoreError]] = {
    errno.ENOENT: ObjectNotFound,
    errno.ENOTDIR: ObjectNotFound,
    errno.EISDIR: ObjectNotFound,
    errno.EEXIST: PreconditionFailed,
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
}


@contextmanager
def _ours(key: str) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        kind = _BY_ERRNO.get(error.errno or 0, TransientStoreError)
        raise kind(f"{key}: {error.strerror or error}.") from error


def open_local(uri: str) -> LocalStore:
    """The store that a `file://` URI names. Raises InvalidStore unless it is an absolute folder of this machine."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise InvalidStore(f"{uri!r} is not a folder of this machine.", hint="Write file:///absolute/folder.")
    return LocalStore(Path(path))


class LocalStore:
    """Objects as files below `root`, which is made when the first object is written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def uri(self) -> str:
        """`file://` and the folder."""
        return self.root.as_uri()

    def _path(self, key: str) -> Path:
        parts = PurePosixPath(key).parts
        if not key or key != "/".join(parts) or ".." in parts or key.startswith("/") or "\x00" in key:
            raise InvalidStore(f"{key[:200]!r} is not a key.", hint="Keys are relative paths without `..`.")
        return self.root.joinpath(*parts)

    def put(self, key: str, chunks: Iterable[bytes], *, create_only: bool = False) -> None:
        """Write under a temporary name, flush, then rename; `create_only` links instead, which cannot replace."""
        target = self._path(key)
        with _ours(key):
            handle, partial = _new_partial(target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                if create_only:
                    os.link(partial, target)
                else:
                    partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            _sync(target.parent)

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes of the file."""
        with _ours(key):
            file = self._path(key).open("rb")
            file.seek(offset)

        def chunks() -> Iterator[bytes]:
            left = length
            with file, _ours(key):
                while left is None or left > 0:
                    chunk = file.read(CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
                    if not chunk:
                        return
                    left = None if left is None else left - len(chunk)
                    yield chunk

        return chunks()

    def head(self, key: str) -> ObjectInfo:
        """The file's size."""
        path = self._path(key)
        with _ours(key):
            if path.is_dir():
                raise ObjectNotFound(f"{key}: is a folder, not an object.")
            return ObjectInfo(key, path.stat().st_size)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The files below the folder, without those that are still being written."""
        with _ours(prefix):
            found = sorted(
                path.relative_to(self.root).as_posix()
                for path in self._path(prefix).rglob("*")
                if path.is_file() and not path.name.startswith(_PARTIAL)
            )
        for key in found:
            yield self.head(key)

    def delete(self, key: str) -> None:
        """Remove the file, and the folders that it leaves empty."""
        path = self._path(key)
        with _ours(key):
            path.unlink(missing_ok=True)
            _sync(path.parent)
            for folder in path.parents:
                if folder == self.root or not _remove_if_empty(folder):
                    return


def _new_partial(folder: Path) -> tuple[int, Path]:
    """An open, empty file in a folder, which is made if need be."""
    for _ in range(_TRIES):
        _make_folders(folder)
        try:
            handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=folder)
        except FileNotFoundError:
            continue  # somebody deleted the folder's last object in between, and the folder with it
        return handle, Path(name)
    raise TransientStoreError(f"{folder} keeps disappearing while it is written to.")


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents so that they survive a crash."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _sync(one.parent)


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk; a folder that is gone has nothing to flush."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            return False
        raise
    return True
