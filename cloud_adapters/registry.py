"""Finds the provider for an address. Adding a cloud is one file in `providers/` and one entry-point line.

Entry points of the group `neutrino.providers` are named after the URI scheme and load a function from URI to store.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from cloud_adapters.base import ObjectStore
from cloud_adapters.errors import InvalidStore
from orchestrator.domain.errors import nearest

GROUP = "neutrino.providers"


def open_store(uri: str) -> ObjectStore:
    """The store at `uri`, such as `file:///srv/neutrino`. Raises InvalidStore when nobody speaks its scheme."""
    scheme, separator, _ = uri.partition("://")
    providers = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not separator or scheme not in providers:
        guess = nearest(scheme, providers)
        known = f"Known: {', '.join(f'{name}://' for name in sorted(providers))}."
        raise InvalidStore(
            f"{uri[:200]!r} is not the address of an object store.",
            hint=f"Did you mean {guess}://?" if guess and guess != scheme else known,
        )
    try:
        opener = providers[scheme].load()
    except ImportError as error:
        extra = providers[scheme].module.rsplit(".", 1)[-1]
        raise InvalidStore(
            f"The provider for {scheme}:// cannot be loaded: {error}.",
            hint=f"Install its extra: pip install 'neutrino-ai[{extra}]'",
        ) from error
    store: ObjectStore = opener(uri)
    return store
