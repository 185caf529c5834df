"""What a job carries with it when it goes elsewhere: how many bytes, from where, and what that costs.

Prices are passed in by the caller, because tariffs belong to the cloud adapters, which stand above the domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.domain.model import Model
from orchestrator.domain.quantities import GIB, format_bytes

_CLOUD_OF_SCHEME = {"s3": "aws", "gs": "gcp", "az": "azure", "file": "local"}
_SMALLEST = 1024**2


class Region(NamedTuple):
    """Where bytes lie: a cloud, and a region of it; an empty one is not known."""

    cloud: str
    region: str = ""


Prices = Callable[[Region, Region], float]
"""USD per GiB from one place to another."""


def free(_source: Region, _destination: Region) -> float:
    """The prices of whoever does not ask for them."""
    return 0.0


def cloud_of(store: str) -> str:
    """The cloud whose protocol a store's address names."""
    scheme = store.partition(":")[0]
    return _CLOUD_OF_SCHEME.get(scheme, scheme)


class Freight(Model):
    """Bytes that a job cannot begin or go on without, an input or its checkpoint, and the stores in which they lie."""

    size: int
    stores: tuple[str, ...]

    def rounded(self) -> Freight:
        """The same with its size rounded up to a power of two: placement works with few shapes, so that it stays quick,
        and a few per cent change no decision."""
        return Freight(size=max(1 << (self.size - 1).bit_length(), _SMALLEST) if self.size else 0, stores=self.stores)


def together(freights: Iterable[Freight]) -> tuple[Freight, ...]:
    """The same bytes in few pieces: one for those that lie in the same stores, in the order of the stores."""
    sizes: dict[tuple[str, ...], int] = {}
    for one in freights:
        stores = tuple(sorted(one.stores))
        sizes[stores] = sizes.get(stores, 0) + one.size
    return tuple(Freight(size=size, stores=stores) for stores, size in sorted(sizes.items()))


@dataclass(frozen=True, slots=True)
class Haul:
    """What has to be moved to one place, and its egress price."""

    bytes: int = 0
    usd: float = 0.0

    @property
    def clause(self) -> str:
        """The same as the end of a sentence; empty when nothing is to be moved."""
        return f"; {format_bytes(self.bytes)} to move for ${self.usd:.2f}" if self.bytes else ""


def haul(freights: Iterable[Freight], store: str, known: Mapping[str, Region], prices: Prices) -> Haul:
    """What has to be moved into `store`, each piece from where that is cheapest. `known` says where stores are; of
    others it is known by their address which cloud they belong to."""
    size, usd = 0, 0.0
    for one in freights:
        if one.stores and store not in one.stores:
            target, *sources = (known.get(place, Region(cloud_of(place))) for place in (store, *one.stores))
            size += one.size
            usd += one.size / GIB * min(prices(source, target) for source in sources)
    return Haul(size, usd)
