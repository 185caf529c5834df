"""From an address to a store. Adding a cloud is one file in `providers/` and one entry-point line.

Entry points of the group `neutrino.providers` are named after the URI scheme and load a function from StoreUri to
ObjectStore. Nothing is imported until a store of that scheme is opened; an import that fails is shown with its cause.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from cloud_adapters.addresses import StoreUri, parse_store_uri
from cloud_adapters.errors import AccessDenied, InvalidStore, MissingProvider
from cloud_adapters.retrying import RetryingStore
from orchestrator.domain.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from cloud_adapters.base import ObjectStore

GROUP = "neutrino.providers"


def open_store(uri: str, *, file_roots: Iterable[Path] | None = None) -> RetryingStore:
    """The store at `uri` (`file:///folder`, `s3://…`, `gs://…`, `az://…`), with retries; it is not contacted yet.

    Options follow `?`: `endpoint` and `region`, for az also `account`. Folders must lie below one of `file_roots`, or
    of the environment's NEUTRINO_FILE_ROOTS. Raises InvalidStore, or MissingProvider when an SDK is not installed.
    """
    parsed = parse_store_uri(uri, file_roots=None if file_roots is None else tuple(file_roots))
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    if parsed.scheme not in known:
        guess = nearest(parsed.scheme, known)
        names = ", ".join(f"{name}://" for name in sorted(known))
        hint = f"Did you mean {guess}://?" if guess else f"Known: {names}."
        raise InvalidStore(f"{uri[:200]!r} is not the address of an object store.", hint=hint)
    return RetryingStore(_load(known[parsed.scheme])(parsed))


def check_store(uri: str) -> None:
    """Raises InvalidStore for an address that this process would not open. Whether anything is there is not asked, and
    neither an SDK nor credentials have to be here."""
    with suppress(MissingProvider, AccessDenied):
        open_store(uri)


def _load(entry: EntryPoint) -> Callable[[StoreUri], ObjectStore]:
    extra = entry.module.rsplit(".", 1)[-1]
    try:
        return cast("Callable[[StoreUri], ObjectStore]", entry.load())
    except ModuleNotFoundError as error:
        raise MissingProvider(
            f"{entry.name}:// needs the module {error.name!r}, which is not installed.",
            hint=f"Install it with: pip install 'neutrino-ai[{extra}]'",
        ) from error
    except Exception as error:  # whatever a provider's module does when imported, say which one and why
        raise MissingProvider(f"The provider of {entry.name}:// cannot be loaded: {error!r}.") from error
