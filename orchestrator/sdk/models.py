"""Models and their versions, and bringing one home byte for byte."""

from __future__ import annotations

from pathlib import Path

from orchestrator.domain.errors import NotFound
from orchestrator.domain.views import ArtifactDetail, ModelVersionView, ModelView
from orchestrator.sdk.binding import Bound, D, Operation, Streaming
from orchestrator.sdk.download import download
from orchestrator.sdk.steps import Steps, Stream
from orchestrator.sdk.transport import each, get, pages, path


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

    @Operation
    def download(self, to: str | Path) -> Steps[Path]:
        """Fetch all files into the folder `to`. Nothing appears there before every byte has been verified.

        Raises CorruptArtifact when bytes do not match the manifest.
        """
        detail = yield from get(path("artifacts", self.view.artifact.id), ArtifactDetail)
        return (yield from download(detail, Path(to)))


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
        """The version that `digits-cnn@1` names; `digits-cnn` means the latest one. Raises NotFound."""
        return ModelVersion(self.driver, (yield from fetch_version(ref)))


def fetch_version(ref: str) -> Steps[ModelVersionView]:
    """What the API knows of a model version. Raises NotFound."""
    name, _, number = ref.partition("@")
    if not name or (number and number != "latest" and not number.isdigit()):
        raise NotFound(f"{ref!r} names no model version.", hint="Write NAME, NAME@latest or NAME@1.")
    return (yield from get(path("models", name, number or "latest"), ModelVersionView))
