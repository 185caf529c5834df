"""What lies at an address that a person wrote: one object, a folder of objects, or an artifact; and what may go there.

`s3://bucket/a/b` is the object `a/b` when there is one, and else the folder of all that begins with `a/b/`. A folder is
always opened as a store of its own, whose keys are relative to it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from cloud_adapters.addresses import parse_store_uri
from cloud_adapters.artifacts import discard, read_manifest
from cloud_adapters.errors import AccessDenied, InvalidStore, ObjectNotFound
from cloud_adapters.registry import open_store
from orchestrator.domain.errors import CorruptArtifact

if TYPE_CHECKING:
    from cloud_adapters.base import ObjectInfo
    from cloud_adapters.retrying import RetryingStore
    from orchestrator.domain.artifact import Manifest


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a store. `key` is empty for the store's folder itself."""

    store: RetryingStore
    key: str = ""


@dataclass(frozen=True, slots=True)
class Found(Location):
    """What lies at a location: `info` of one object, `manifest` of an artifact, or neither for a plain folder."""

    info: ObjectInfo | None = None
    manifest: Manifest | None = None

    def objects(self) -> list[ObjectInfo]:
        """The object, or every object of the folder."""
        return [self.info] if self.info else list(self.store.list(""))

    def remove(self) -> int:
        """Deletes it all, an artifact's manifest first; returns how many objects that were."""
        if self.info:
            self.store.delete(self.key)
            return 1
        count = len(self.objects())
        discard(self.store, "")
        with suppress(AccessDenied):  # who may delete objects may not always look for unfinished uploads
            self.store.sweep(before=math.inf)
        return count


def below(uri: str, path: str) -> str:
    """The address of `path` (not escaped) in the store at `uri`, with the same options."""
    address, mark, options = uri.partition("?")
    return f"{address.rstrip('/')}/{quote(path)}{mark}{options}"


def above(uri: str) -> tuple[str, str]:
    """The address of the folder that holds what `uri` names, and the name in it; no name for a bucket or a folder
    that is written with a slash at its end."""
    parsed = parse_store_uri(uri)
    address, mark, options = uri.partition("?")
    if address.endswith("/") or not parsed.prefix.strip("/"):
        return uri, ""
    parent, _, name = address.rpartition("/")
    return f"{parent}{mark}{options}", unquote(name)


def find(uri: str) -> Found:
    """What lies at `uri`; a folder whose manifest is none of ours, or is damaged, is a plain one. Raises ObjectNotFound
    when nothing lies there, and InvalidStore for an address that may not be used."""
    parent, name = above(uri)
    if name and not _is_local_folder(uri):
        store = open_store(parent)
        with suppress(ObjectNotFound):
            return Found(store, name, info=store.head(name))
    store = open_store(uri)
    with suppress(ObjectNotFound, CorruptArtifact):  # any program may call a file of its own `manifest.json`
        return Found(store, manifest=read_manifest(store, ""))
    if next(store.list(""), None) is None:
        raise ObjectNotFound(f"There is nothing at {uri}.", hint=f"`neutrino store ls {parent}` shows what there is.")
    return Found(store)


def target(uri: str, source: Found) -> Location:
    """Where a copy of `source` goes when it is sent to `uri`: a folder's content into that folder, an object under that
    name, or under its own name when `uri` is a folder (it ends with a slash, is a bucket, or is a local folder)."""
    if source.info is None:
        return Location(open_store(uri))
    own = source.key.rpartition("/")[2]
    parent, name = above(uri)
    if not name or _is_local_folder(uri):
        return Location(open_store(uri), own)
    return Location(open_store(parent), name)


def _is_local_folder(uri: str) -> bool:
    parsed = parse_store_uri(uri)
    return parsed.scheme == "file" and Path(parsed.prefix).is_dir()


def refuse_root(uri: str) -> None:
    """Raises InvalidStore for the address of a whole bucket: nobody means to delete that."""
    if not parse_store_uri(uri).prefix.strip("/"):
        raise InvalidStore(f"{uri!r} is a whole bucket.", hint="Name a folder or an object in it.")
