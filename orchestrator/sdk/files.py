"""The user's own files: found by the SHA-256 of their bytes, so that one that the API has is not sent
again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.domain.errors import FieldError, InvalidSpec, NotFound
from orchestrator.domain.spec import MAX_FILE_BYTES, SourceFile
from orchestrator.sdk.binding import Bound, D, Operation
from orchestrator.sdk.steps import Call, Steps
from orchestrator.sdk.transport import exchange, path


class Files(Bound[D]):
    """Files that jobs name in `files`."""

    @Operation
    def upload(self, files: Mapping[str, str | Path]) -> Steps[tuple[SourceFile, ...]]:
        """Upload files, given as `{path in the job: file here}`, and return what a Command's `files` needs.

        Raises InvalidSpec when one cannot be read or is larger than 16 MiB.
        """
        uploaded = []
        for name, local in files.items():
            source, content = describe(name, Path(local))
            yield from _send(source, content)
            uploaded.append(source)
        return tuple(uploaded)

    @Operation
    def send(self, described: Iterable[tuple[SourceFile, bytes]]) -> Steps[None]:
        """Upload files that have been described already, as they were then."""
        for source, content in described:
            yield from _send(source, content)


def describe(name: str, local: Path) -> tuple[SourceFile, bytes]:
    """A file as a spec names it, with its bytes. Raises InvalidSpec."""
    try:
        with local.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        executable = os.access(local, os.X_OK)
    except OSError as error:
        raise InvalidSpec.of([FieldError("spec.files", f"{local} cannot be read: {error.strerror}.")]) from None
    if len(content) > MAX_FILE_BYTES:
        hint = "Put data into a dataset or an object store, and name it there."
        raise InvalidSpec.of([FieldError("spec.files", f"{local} is larger than {MAX_FILE_BYTES >> 20} MiB.", hint)])
    digest = hashlib.sha256(content).hexdigest()
    return SourceFile(path=name, sha256=digest, size=len(content), executable=executable), content


def _send(source: SourceFile, content: bytes) -> Steps[None]:
    where = path("files", source.sha256)
    try:
        yield from exchange(Call("HEAD", where))
    except NotFound:
        headers = {"Content-Type": "application/octet-stream"}
        yield from exchange(Call("PUT", where, content=content, headers=headers))
