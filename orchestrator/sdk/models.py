"""Models and their versions: named, moved to other clouds, checked, and brought home byte for byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.domain.aliases import AliasView
from orchestrator.domain.errors import NotFound
from orchestrator.domain.transfer import MigrationPlan, MigrationView
from orchestrator.domain.views import ArtifactDetail, ModelVersionView, ModelView, ReplicaView
from orchestrator.sdk.binding import Bound, D, Fetched, Operation, Streaming
from orchestrator.sdk.download import download
from orchestrator.sdk.migrations import Migration
from orchestrator.sdk.steps import Call, Steps, Stream, T
from orchestrator.sdk.transport import decode, each, exchange, get, pages, path, post


class ModelVersion(Bound[D]):
    """One version of a model."""

    def __init__(self, driver: D, view: ModelVersionView) -> None:
        super().__init__(driver)
        self.view = view

    @property
    def ref(self) -> str:
        """Its reference, such as `digits-cnn@1`."""
        return self.view.ref

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.view.name

    @property
    def version(self) -> int:
        """The number of the version, from 1."""
        return self.view.version

    @property
    def sha256(self) -> str:
        """The hash of its manifest, which holds the hash of every file."""
        return self.view.artifact.digest

    @property
    def metrics(self) -> dict[str, float]:
        """How good it is: the last values that its job logged."""
        return self.view.metrics

    @property
    def lineage(self) -> dict[str, object]:
        """Where it came from."""
        return self.view.lineage

    def __repr__(self) -> str:
        return f"<ModelVersion {self.ref} sha256:{self.sha256[:12]}>"

    @property
    def aliases(self) -> tuple[str, ...]:
        """The names that point at it, such as `prod`."""
        return self.view.aliases

    @Fetched
    def replicas(self) -> Steps[tuple[ReplicaView, ...]]:
        """Its copies, one per store, as they are now."""
        view = yield from get(path("models", self.name, self.version), ModelVersionView)
        return view.artifact.replicas

    @Operation
    def download(self, to: str | Path, *, near: str | None = None) -> Steps[Path]:
        """Fetch all files into the folder `to`. Nothing appears there before every byte has been verified.

        `near` is the cloud, pool or store whose copy to prefer, by default what NEUTRINO_NEAR says. When a copy fails,
        the next one is read. Raises CorruptArtifact when no copy has the bytes that the manifest says, and NotFound
        for a place that is not known.
        """
        near = near or os.environ.get("NEUTRINO_NEAR") or None
        detail = yield from get(path("artifacts", self.view.artifact.id), ArtifactDetail, near=near)
        return (yield from download(detail, Path(to), near=near))

    @Operation
    def plan(
        self,
        to: str,
        *,
        source: str | None = None,
        move: bool = False,
        paranoid: bool = False,
        limit: float | None = None,
    ) -> Steps[MigrationPlan]:
        """What `migrate` would move, how long that takes and what it costs. Raises what `migrate` raises."""
        body = _wanted(to, source, move, paranoid, limit)
        return (yield from self._ask(MigrationPlan, "migrate", "plan", body=body))

    @Operation
    def migrate(
        self,
        to: str,
        *,
        source: str | None = None,
        move: bool = False,
        paranoid: bool = False,
        limit: float | None = None,
    ) -> Steps[Migration[D]]:
        """Begin to copy it to another cloud: `to` is a cloud, a pool, or the address of a pool's store.

        Readers see the copy once all of it is verified. With `move`, the copy at `source` (the nearest, when it is not
        named) is deleted afterwards, once nothing reads it. `limit` is in bytes per second; `paranoid` reads everything
        back. Raises NotFound for an unknown place, Conflict when it is there already or on its way, PermissionDenied
        when the store there lets nobody write, and StoreError for a store that cannot be used.
        """
        body = _wanted(to, source, move, paranoid, limit)
        return Migration(self.driver, (yield from self._ask(MigrationView, "migrate", body=body)))

    @Operation
    def verify(self, store: str | None = None) -> Steps[list[Migration[D]]]:
        """Begin to hash every byte of its copies, or of the one at `store` (a cloud, a pool or an address). A damaged
        one is lost, and is mended from a good one. Raises Conflict when there is none to check."""
        begun = yield from self._ask(list[MigrationView], "verify", body={"store": store})
        return [Migration(self.driver, view) for view in begun]

    @Operation
    def alias(self, name: str) -> Steps[AliasView]:
        """Let `name` point at this version, wherever it pointed before: `digits@prod` then means this one."""
        call = Call("PUT", path("models", self.name, "aliases", name), json={"version": self.version})
        return decode((yield from exchange(call)), AliasView)

    @Operation
    def delete(self) -> Steps[None]:
        """Delete this version with all of its copies. Raises Conflict naming the aliases and jobs that use it."""
        yield from exchange(Call("DELETE", path("models", self.name, self.version)))

    def _ask(self, answer: type[T], *verb: str, body: dict[str, object]) -> Steps[T]:
        return (yield from post(path("models", self.name, self.version, *verb), answer, body))


def _wanted(to: str, source: str | None, move: bool, paranoid: bool, limit: float | None) -> dict[str, object]:
    bandwidth = None if limit is None else int(limit)
    return {"to": to, "source": source, "move": move, "paranoid": paranoid, "limit": bandwidth}


class Models(Bound[D]):
    """The models of this workspace."""

    @Streaming
    def list(self) -> Stream[ModelView]:
        """All models, each with its latest version."""
        yield from pages("/v1/models", ModelView)

    @Streaming
    def versions(self, name: str) -> Stream[ModelVersion[D]]:
        """All versions of one model, newest first. Raises NotFound."""
        yield from each(pages(path("models", name), ModelVersionView), lambda view: ModelVersion(self.driver, view))

    @Operation
    def get(self, ref: str) -> Steps[ModelVersion[D]]:
        """The version that `digits-cnn@1` or `digits-cnn@prod` names; `digits-cnn` means the latest one. Raises
        NotFound."""
        return ModelVersion(self.driver, (yield from fetch_version(ref)))

    @Operation
    def aliases(self, name: str) -> Steps[Sequence[AliasView]]:
        """The aliases of a model. Raises NotFound."""
        return (yield from get(path("models", name, "aliases"), tuple[AliasView, ...]))

    @Operation
    def remove_alias(self, name: str, alias: str) -> Steps[None]:
        """Forget an alias; the version that it pointed at stays. Raises NotFound."""
        yield from exchange(Call("DELETE", path("models", name, "aliases", alias)))


def fetch_version(ref: str) -> Steps[ModelVersionView]:
    """What the API knows of a model version. Raises NotFound."""
    name, at, version = ref.partition("@")
    if not name or (at and not version):
        raise NotFound(f"{ref!r} names no model version.", hint="Write NAME, NAME@1, NAME@latest or NAME@ALIAS.")
    return (yield from get(path("models", name, version or "latest"), ModelVersionView))
