"""Object stores from this machine, with your own credentials: list, put, get, remove, copy, and what a copy costs.

    import orchestrator as nu

    nu.stores.cp("s3://models/digits", "gs://replicas/digits")     # every byte verified; run again, it goes on
    nu.stores.get("digits-cnn@1", "digits")                        # where it lies is asked of the API

A place is an address (`file:///folder`, `s3://…`, `gs://…`, `az://…`); where something is read from it may also be a
model's version or an artifact's id. The libraries of the clouds are loaded when a store of theirs is opened. What is
not installed names the extra that brings it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.errors import CorruptArtifact, InvalidSpec, NeutrinoError, NotFound
from orchestrator.domain.places import ArtifactPlaces, StoreView
from orchestrator.domain.views import Page
from orchestrator.sdk.transport import get as fetch
from orchestrator.sdk.transport import path

if TYPE_CHECKING:
    import threading

    from cloud_adapters.base import ObjectInfo
    from cloud_adapters.locations import Found
    from cloud_adapters.transfer import Estimate, Progress, Report
    from orchestrator.sdk.client import Client

_ARTIFACT = re.compile(r"a-[0-9a-z]+")
_HINT = "Write file:///folder, s3://…, gs://…, az://…, MODEL@VERSION or an artifact's id."


def ls(uri: str) -> Iterator[ObjectInfo]:
    """Every object at `uri` and below, by key. Raises ObjectNotFound, which is a NotFound, when there is nothing."""
    from cloud_adapters.locations import find  # noqa: PLC0415 - see the module's docstring

    found = find(uri)
    return iter((found.info,)) if found.info else found.store.list("")


def rm(uri: str, *, recursive: bool = False) -> int:
    """Delete the object at `uri`, or, if `recursive`, the folder; returns how many objects that were.

    An artifact's manifest goes first, so that nobody starts to read what is being removed.
    """
    from cloud_adapters.locations import find, refuse_root  # noqa: PLC0415

    refuse_root(uri)
    found = find(uri)
    if found.info is None and not recursive:
        raise InvalidSpec(f"{uri} is a folder.", hint="Say that you mean all of it: --recursive, or recursive=True.")
    return found.remove()


def put(
    folder: str | Path,
    uri: str,
    *,
    artifact: bool = False,
    paranoid: bool = False,
    limit: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Copy a file or a folder of this machine to `uri`. With `artifact`, the folder becomes one: its manifest, with the
    SHA-256 of every file, is written last. Otherwise as `cp`."""
    from cloud_adapters.artifacts import describe  # noqa: PLC0415
    from cloud_adapters.locations import Found, find  # noqa: PLC0415

    here = Path(folder).absolute()
    if not here.exists():
        raise NotFound(f"There is no file or folder {folder}.")
    found = find(here.as_uri())
    if artifact and found.manifest is None:
        found = Found(found.store, manifest=describe(here))
    return _copy(found, uri, paranoid, limit, on_progress, cancel)


def get(
    what: str,
    to: str | Path | None = None,
    *,
    paranoid: bool = False,
    limit: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    client: Client | None = None,
) -> tuple[Path, Report]:
    """Copy a file, a folder or an artifact to this machine, by default under its own name in the current folder, and
    return where it is, with the report. Otherwise as `cp`."""
    from cloud_adapters.locations import above  # noqa: PLC0415

    name = above(what)[1] or what.rstrip("/").rpartition("/")[2] if "://" in what else what.replace("@", "-")
    local = Path(to if to is not None else name).absolute()
    found, _ = _locate(what, client)
    if found.info and local.is_dir():
        local /= found.key
    return local, _copy(found, local.as_uri(), paranoid, limit, on_progress, cancel)


def cp(
    source: str,
    destination: str,
    *,
    paranoid: bool = False,
    limit: float | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    client: Client | None = None,
) -> Report:
    """Copy a file, a folder or an artifact from any store to any other, every byte verified.

    What the destination holds already is not sent again, so a copy that broke off goes on when it is started again, on
    this machine or another. An artifact becomes visible last and whole; other content under its name is never
    overwritten. `paranoid` reads everything back; `limit` is in bytes per second; `on_progress` is called from several
    threads, one at a time; `client` finds models and artifacts by name, and is made when it is needed.

    Raises CorruptArtifact, NotFound, PermissionDenied, PreconditionFailed (another artifact is there),
    TransferCancelled, and the other errors of `cloud_adapters.errors`.
    """
    return _copy(_locate(source, client)[0], destination, paranoid, limit, on_progress, cancel)


def estimate(what: str, to: str, *, client: Client | None = None) -> Estimate:
    """What would have to move, how long that takes at an assumed rate, and what the provider of the source charges.

    `to` is an address, or a cloud, which means the store next to its pools. A model or an artifact would go into that
    store as a replica, beside what other versions of the model have brought there; anything else as `cp` puts it.
    """
    from cloud_adapters import transfer  # noqa: PLC0415
    from cloud_adapters.locations import target  # noqa: PLC0415
    from cloud_adapters.registry import open_store  # noqa: PLC0415

    destination = to if "://" in to else _store_of(to, client)
    found, places = _locate(what, client, destination)
    if places is not None:
        store, prefix = open_store(destination), places.replicas[0].prefix
        return transfer.estimate(found.store, "", store, prefix, reuse=places.reusable)
    place = target(destination, found)
    if found.manifest is not None:
        return transfer.estimate(found.store, "", place.store, place.key)
    return transfer.estimate_copy(found.store, _pairs(found, place.key), place.store)


def _pairs(found: Found, key: str) -> Sequence[tuple[ObjectInfo, str]]:
    """Each object with the key that it gets."""
    return [(found.info, key)] if found.info else [(info, info.key) for info in found.objects()]


def _copy(
    found: Found,
    destination: str,
    paranoid: bool,
    limit: float | None,
    on_progress: Callable[[Progress], None] | None,
    cancel: threading.Event | None,
) -> Report:
    from cloud_adapters import transfer  # noqa: PLC0415
    from cloud_adapters.locations import target  # noqa: PLC0415

    place = target(destination, found)
    options = transfer.Options(paranoid=paranoid, bandwidth=limit)
    if found.manifest is not None:
        return transfer.transfer(
            found.store, "", place.store, place.key, manifest=found.manifest, options=options,
            on_progress=on_progress, cancel=cancel,
        )  # fmt: skip
    pairs = _pairs(found, place.key)
    return transfer.copy(found.store, pairs, place.store, options=options, on_progress=on_progress, cancel=cancel)


def _locate(what: str, client: Client | None, store: str | None = None) -> tuple[Found, ArtifactPlaces | None]:
    """What an address or a name stands for, and for a name where all its copies lie, and what `store` has of it."""
    from cloud_adapters.locations import below, find  # noqa: PLC0415

    if "://" in what:
        return find(what), None
    if not what or "/" in what:
        raise InvalidSpec(f"{what!r} is neither an address nor a name.", hint=_HINT)
    api = client or _client()
    artifact = what if _ARTIFACT.fullmatch(what) else api.models.get(what).view.artifact.id
    places = api.driver.run(fetch(path("artifacts", artifact, "replicas"), ArtifactPlaces, store=store))
    failures: list[str] = []
    for replica in places.replicas:
        try:
            found = find(below(replica.store, replica.prefix))
        except NeutrinoError as error:  # another copy may be within reach
            failures.append(str(error))
            continue
        if found.manifest is None or found.manifest.digest != places.digest:
            raise CorruptArtifact(f"The manifest of {what} in {replica.store} is not the one that was published.")
        return found, places
    raise NotFound(f"No copy of {what} can be reached from here.", hint=" ".join(failures) or None)


def _store_of(cloud: str, client: Client | None) -> str:
    """The address of the store next to a cloud's pools."""
    known = (client or _client()).driver.run(fetch("/v1/stores", Page[StoreView])).items
    for one in known:
        if one.cloud == cloud:
            return one.store
    names = ", ".join(sorted({one.cloud for one in known})) or "none"
    raise NotFound(f"No pool lies in the cloud {cloud!r}.", hint=f"Clouds with pools: {names}. Or write an address.")


def _client() -> Client:
    from orchestrator.sdk.client import Client  # noqa: PLC0415

    return Client()
