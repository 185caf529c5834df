"""Folders as a store: `file:///folder`. Writes are atomic and fsynced; nobody ever sees half an object.

An object is written to `.neutrino/` inside the store's folder, synced, and then linked (create-only) or renamed into
place. Unfinished uploads live there too, one folder each, so that any process can go on with them. What a process left
there that was killed is removed by the next one that writes: at once when it held a lock on it, else after a week.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
import uuid
import zlib
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Self

from cloud_adapters.addresses import StoreUri, allowed_folder
from cloud_adapters.base import (
    PRIVATE,
    Bytes,
    Capabilities,
    ObjectInfo,
    ObjectStore,
    Page,
    Part,
    Reader,
    Upload,
    check_key,
    is_hidden,
)
from cloud_adapters.disk import entries, is_locked, removed_if_abandoned, sync, within, write_at
from cloud_adapters.errors import (
    AccessDenied,
    InvalidStore,
    ObjectNotFound,
    PreconditionFailed,
    StoreError,
    StoreFull,
    TransientStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_FORGOTTEN_S = 7 * 86400.0
_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
_ERRORS: dict[int, type[StoreError]] = {
    errno.ENOENT: ObjectNotFound,
    errno.ENOTDIR: ObjectNotFound,
    errno.ENXIO: ObjectNotFound,
    errno.EISDIR: ObjectNotFound,
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.EEXIST: PreconditionFailed,
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EFBIG: StoreFull,
    errno.EIO: TransientStoreError,
    errno.ESTALE: TransientStoreError,
}


@contextmanager
def _in_our_words(key: str) -> Iterator[None]:
    """Turns the system's errors into the store's."""
    try:
        yield
    except OSError as error:
        kind = _ERRORS.get(error.errno or 0, StoreError)
        raise kind(f"{key}: {error.strerror or error}") from error


def open_local(uri: StoreUri) -> LocalStore:
    """The folder at `uri`; it is made when something is first stored in it."""
    uri.only()
    return LocalStore(allowed_folder(uri.prefix, uri.file_roots))


class LocalStore:
    """One folder."""

    provider = "local"
    region = "local"
    # Nothing verifies what a disk holds, so movers read back what they wrote.
    capabilities = Capabilities(verifies=False, presigned_read=False, copies_elsewhere=False, max_parts=1_000_000)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = folder.as_uri()
        self._uploads = folder / PRIVATE / "uploads"
        self._files = folder / PRIVATE / "staged"
        self._has_swept = False

    def checksum(self, data: Bytes) -> bytes:
        return zlib.crc32(data).to_bytes(4)

    def fingerprint(self, data: Bytes) -> bytes:
        return self.checksum(data)

    def put(self, key: str, data: Bytes, *, checksum: bytes | None = None, create_only: bool = False) -> ObjectInfo:
        _ = checksum  # there is no one to verify it
        target = self._path(key)
        with _in_our_words(key), self._staged() as staged:
            staged.write_bytes(data)
            return self._publish(staged, target, key, create_only=create_only)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Reader:
        with _in_our_words(key):
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ObjectNotFound(f"{key}: is no file")  # nor does a pipe that nobody writes to hold anybody up
            if etag is not None and etag != _etag(status):
                raise PreconditionFailed(f"{key} has changed since it was looked at")
            if start > status.st_size:
                raise PreconditionFailed(f"{key} has {status.st_size} bytes, none at {start}")
            return _FileReader(descriptor, key, start, status.st_size if end is None else min(end, status.st_size))
        except BaseException:
            os.close(descriptor)
            raise

    def read_into(self, key: str, buffer: memoryview, *, start: int = 0, etag: str | None = None) -> None:
        with self.open(key, start=start, end=start + len(buffer), etag=etag) as reader:
            at = 0
            while at < len(buffer):
                got = reader.readinto(buffer[at:])
                if not got:
                    raise TransientStoreError(f"{key}: ended after {start + at} bytes")
                at += got

    def head(self, key: str) -> ObjectInfo:
        path = self._path(key)
        with _in_our_words(key):
            status = path.stat()
        if not path.is_file():
            raise ObjectNotFound(f"{key}: is no file")
        return ObjectInfo(key, status.st_size, _etag(status))

    def list_page(self, prefix: str = "", *, token: str | None = None, limit: int = 1000) -> Page:
        with _in_our_words(prefix):
            chosen = list(islice(self._keys(prefix, token or ""), limit + 1))
        found = []
        for key in chosen[:limit]:
            with suppress(ObjectNotFound):  # deleted since it was listed
                found.append(self.head(key))
        return Page(tuple(found), chosen[limit - 1] if len(chosen) > limit else None)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _in_our_words(key):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            for parent in path.parents:
                if parent == self.folder or not parent.is_relative_to(self.folder):
                    break
                try:
                    parent.rmdir()
                except OSError:  # not empty, or already gone: folders are no objects, an empty one harms nobody
                    break

    def can_copy_from(self, source: ObjectStore) -> bool:
        return isinstance(source, LocalStore)

    def copy_from(self, source: ObjectStore, source_key: str, key: str) -> ObjectInfo:
        if not isinstance(source, LocalStore):
            raise StoreError(f"{source.uri} is not a folder; its objects cannot be copied on this machine")
        target = self._path(key)
        with _in_our_words(source_key), self._staged() as staged:
            shutil.copyfile(source._path(source_key), staged)  # noqa: SLF001 - the same class
            return self._publish(staged, target, key, create_only=False)

    def presign(self, key: str, *, seconds: int) -> str:
        raise StoreError(f"{key}: folders cannot be read through a URL (asked for {seconds} s)")

    def start_upload(self, key: str, *, part_size: int) -> Upload:
        self._sweep_once()
        for had in self._unfinished(key, part_size):
            shutil.rmtree(had, ignore_errors=True)
        upload = self._new_upload(key, part_size)
        folder = self._upload_folder(upload)
        with _in_our_words(key):
            within(folder, (folder / "data").touch)
        return upload

    def find_upload(self, key: str, *, part_size: int) -> Upload | None:
        """Takes the upload over by giving its folder another name. Whoever had it before finds it gone: of the parts of
        two writers no object is made."""
        for had in self._unfinished(key, part_size):
            upload = self._new_upload(key, part_size)
            with _in_our_words(key), suppress(FileNotFoundError):  # somebody else was faster
                had.rename(self._upload_folder(upload))
                return upload
        return None

    def put_part(self, upload: Upload, number: int, data: Bytes) -> Part:
        if not 0 < len(data) <= upload.part_size:
            raise StoreError(f"{upload.key}: part {number} has {len(data)} bytes, not 1 to {upload.part_size}")
        folder = self._upload_folder(upload)
        with _in_our_words(upload.key):
            descriptor = os.open(folder / "data", os.O_WRONLY | os.O_CLOEXEC)
            try:
                write_at(descriptor, data, (number - 1) * upload.part_size)
            finally:
                os.close(descriptor)
            (folder / f"part-{number}-{len(data)}").touch()
        return Part(number, len(data), self.fingerprint(data), "")

    def list_parts(self, upload: Upload) -> tuple[Part, ...]:
        """The landed parts; each is hashed as it lies on the disk, so a torn write is not mistaken for a part."""
        folder = self._upload_folder(upload)
        parts = []
        with _in_our_words(upload.key), (folder / "data").open("rb") as file:
            for marker in folder.glob("part-*"):
                number, size = (int(text) for text in marker.name.split("-")[1:])
                file.seek((number - 1) * upload.part_size)
                parts.append(Part(number, size, self.fingerprint(file.read(size)), ""))
        return tuple(sorted(parts, key=lambda part: part.number))

    def finish_upload(self, upload: Upload, parts: Sequence[Part], *, create_only: bool = False) -> ObjectInfo:
        target = self._path(upload.key)
        folder = self._upload_folder(upload)
        whole = all(part.size == upload.part_size for part in parts[:-1])
        if [part.number for part in parts] != list(range(1, len(parts) + 1)) or not whole:
            raise StoreError(f"{upload.key}: the parts do not follow each other without a gap")
        with _in_our_words(upload.key):
            os.truncate(folder / "data", sum(part.size for part in parts))
            info = self._publish(folder / "data", target, upload.key, create_only=create_only)
        self.abort_upload(upload)
        return info

    def abort_upload(self, upload: Upload) -> None:
        shutil.rmtree(self._upload_folder(upload), ignore_errors=True)
        self._tidy()

    def sweep(self, *, before: float) -> int:
        swept = 0
        with _in_our_words(self.uri):
            for upload in entries(self._uploads):
                with suppress(FileNotFoundError):  # it has ended meanwhile
                    if max(one.stat().st_mtime for one in (upload, upload / "data")) < before:
                        shutil.rmtree(upload, ignore_errors=True)
                        swept += 1
            swept += sum(removed_if_abandoned(file) for file in entries(self._files))
        self._tidy()
        return swept

    def _sweep_once(self) -> None:
        if not self._has_swept:
            self._has_swept = True
            self.sweep(before=time.time() - _FORGOTTEN_S)

    def _path(self, key: str) -> Path:
        """The file of `key`; refuses keys that lead out of the folder, be it by name or by a symbolic link."""
        segments = check_key(key).split("/")
        if segments[0] == PRIVATE or is_hidden(key, 1):
            raise InvalidStore(f"{key!r}: {PRIVATE} is the store's own folder")
        path = self.folder.joinpath(*segments)
        if not path.parent.resolve().is_relative_to(self.folder) or path.is_symlink():
            raise InvalidStore(f"{key!r} leads out of {self.uri}")
        return path

    def _keys(self, prefix: str, after: str) -> Iterator[str]:
        """The keys after `after` that begin with `prefix`, in order. Only folders are read that may hold some: a page
        costs what lies on its way, and not the whole store."""
        folder, slash, _ = prefix.rpartition("/")
        if slash:
            try:
                self._path(folder)
            except InvalidStore:  # no key begins so
                return
        yield from self._below(folder + slash, prefix, after)

    def _below(self, folder: str, prefix: str, after: str) -> Iterator[str]:
        """The same of one folder, which is empty or ends with a slash, as the names of folders do here: that is how
        they stand in the order of keys. Links to folders are not followed."""
        try:
            with os.scandir(self.folder / folder) as found:
                entries = sorted(
                    f"{folder}{entry.name}/" if entry.is_dir(follow_symlinks=False) else f"{folder}{entry.name}"
                    for entry in found
                    if not (entry.is_symlink() and entry.is_dir())
                )
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        for key in entries:
            if not key.startswith(prefix) or is_hidden(key, 1):
                continue
            if not key.endswith("/"):
                if key > after:
                    yield key
            elif key > after or after.startswith(key):
                yield from self._below(key, prefix, after)

    @contextmanager
    def _staged(self) -> Iterator[Path]:
        """A new, empty file to write an object to; what is left of it in the end is removed. It is locked as long as
        it is needed, which tells the others that its writer lives."""
        self._sweep_once()
        locked = False
        while not locked:
            staged = self._files / uuid.uuid4().hex
            descriptor = within(self._files, partial(os.open, staged, _NEW, 0o666))
            locked = is_locked(descriptor)
            if not locked:
                os.close(descriptor)
        try:
            yield staged
        finally:
            staged.unlink(missing_ok=True)
            os.close(descriptor)
            self._tidy()

    def _tidy(self) -> None:
        """Our own folder is there only while something is unfinished."""
        own = self.folder / PRIVATE
        for folder in (self._files, self._uploads, own):
            with suppress(OSError):  # not empty, or gone already
                folder.rmdir()

    def _unfinished(self, key: str, part_size: int) -> list[Path]:
        """The folders of unfinished uploads of `key`."""
        name = self._upload_name(key, part_size)
        return [had for had in entries(self._uploads) if had.name.startswith(name) and (had / "data").exists()]

    def _new_upload(self, key: str, part_size: int) -> Upload:
        return Upload(key, f"{self._upload_name(key, part_size)}-{uuid.uuid4().hex}", part_size)

    def _upload_name(self, key: str, part_size: int) -> str:
        self._path(key)
        return hashlib.sha256(f"{part_size}/{key}".encode()).hexdigest()

    def _upload_folder(self, upload: Upload) -> Path:
        return self._uploads / upload.id

    def _publish(self, staged: Path, target: Path, key: str, *, create_only: bool) -> ObjectInfo:
        """Makes the synced content of `staged` appear as `target` in one step, durably."""
        sync(staged)
        if create_only:
            within(target.parent, lambda: os.link(staged, target))
            staged.unlink()
        else:
            within(target.parent, lambda: staged.replace(target))
        status = target.stat()
        for parent in (target.parent, *target.parent.parents):
            sync(parent)
            if parent == self.folder:
                break
        return ObjectInfo(key, status.st_size, _etag(status))


class _FileReader:
    """A range of one open file."""

    def __init__(self, descriptor: int, key: str, start: int, end: int) -> None:
        self.size = max(end - start, 0)
        self._descriptor = descriptor
        self._key = key
        self._at = start
        self._end = end

    def readinto(self, buffer: memoryview, /) -> int:
        wanted = min(len(buffer), self._end - self._at)
        if wanted <= 0:
            return 0
        with _in_our_words(self._key):
            got = os.preadv(self._descriptor, [buffer[:wanted]], self._at)
        if not got:
            raise TransientStoreError(f"{self._key}: ended at byte {self._at} of {self._end}")
        self._at += got
        return got

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
