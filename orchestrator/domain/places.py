"""Where artifacts lie, and which stores there are: what a client needs in order to move bytes by itself."""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.model import Model


class ReplicaPlace(Model):
    """A verified copy: the artifact's files lie below `prefix` in `store`."""

    store: str
    prefix: str
    verified_at: datetime


class ArtifactPlaces(Model):
    """Every copy of an artifact, newest first. `reusable` are prefixes, in the store that was asked about, of other
    versions of the same model: what they hold need not be sent there again."""

    artifact: str
    digest: str
    size: int
    replicas: tuple[ReplicaPlace, ...]
    reusable: tuple[str, ...] = ()


class StoreView(Model):
    """A store that the installation uses, and the pools that lie next to it."""

    cloud: str
    region: str
    store: str
    pools: tuple[str, ...]
