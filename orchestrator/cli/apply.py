"""`neutrino apply -f job.yaml`: submit what a file describes, or show what would come of it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.arguments import Timeout, connect
from orchestrator.cli.inspect import tell, tell_if_stuck
from orchestrator.cli.output import Format, Output, colourful, emit_data, note, plain, safe, write

if TYPE_CHECKING:
    from orchestrator.domain.spec import JobSpec
    from orchestrator.domain.yaml import Document
    from orchestrator.sdk.client import Client


def apply(
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="The YAML file; - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is new and where it would go.")] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait until all of it has succeeded.")] = False,
    timeout: Timeout = None,
    output: Output = Format.TABLE,
) -> None:
    """Submit the jobs of a YAML file.

    All of them are submitted, or none when one has a fault.
    """
    from orchestrator.domain.yaml import load_documents, placing

    source, text = _read(file)
    documents = load_documents(text, source)
    specs = [document.parse() for document in documents]
    with connect() as client:
        if dry_run:
            for document, spec in zip(documents, specs, strict=True):
                _preview(client, document, spec)
            return
        with placing(documents):
            jobs = [client.jobs.submit(specs[0])] if len(specs) == 1 else client.jobs.submit_many(specs)
        if output in {Format.JSON, Format.YAML}:
            emit_data([plain(job.view) for job in jobs], output)
        else:
            for job in jobs:
                write(f"{job.id}\n" if output is Format.NAME else f"{job.id}  {job.name}  submitted\n")
        if wait:
            for job in jobs:
                job.wait(progress=True, timeout=timeout)
        elif output is Format.TABLE:
            note(f"Follow with `neutrino logs -f {jobs[0].id}`.", style="dim")
            tell_if_stuck(jobs[0])


def _read(file: str) -> tuple[str, str]:
    """The name and the text of the input. Raises InvalidSpec when it is no text, NotFound when it is not there."""
    from orchestrator.domain.errors import InvalidSpec, NotFound
    from orchestrator.domain.yaml import MAX_BYTES

    name = "standard input" if file == "-" else file
    try:
        if file == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
        return name, content.decode("utf-8-sig")
    except OSError as error:
        raise NotFound(f"{name} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{name} is not UTF-8 text (byte {error.start}).") from None


def _preview(client: Client, document: Document, spec: JobSpec) -> None:
    """What differs from the last job of this name, and where the job would go."""
    from orchestrator.domain.document import parse
    from orchestrator.domain.yaml import placing

    last = next(iter(client.jobs.list(name=spec.name, kind=spec.kind, limit=1)), None)
    view: Any = last.refresh().view if last is not None else None
    before = _comparable(parse(view.document)) if view is not None else ""
    write(f"{spec.kind} {spec.name}: {f'compared with {last.id}' if last else 'the first of this name'}\n")
    changes = list(_diff(before, _comparable(spec)))
    write("".join(changes) if changes else "  (no change)\n")
    with placing([document]):
        why = client.jobs.plan(spec)
    write("Placement: ")
    tell(why)


def _comparable(spec: JobSpec) -> str:
    """The YAML of a spec with its free keys sorted: the database does not keep their order."""
    free = ("params", "labels", "env")
    return spec.model_copy(update={name: dict(sorted(getattr(spec, name).items())) for name in free}).spec()


def _diff(before: str, after: str) -> Iterator[str]:
    """The lines of a unified diff without its headers, indented and coloured."""
    colours = {"+": "\x1b[32m", "-": "\x1b[31m"} if colourful(sys.stdout) else {}
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    for line in list(lines)[2:]:
        if not line.startswith("@@"):
            text = safe(line).plain
            colour = colours.get(line[0], "")
            yield f"  {colour}{text}{colour and chr(27) + '[0m'}\n"
