"""`neutrino up` and `down`: the whole platform on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.output import complain, note, write

if TYPE_CHECKING:
    from orchestrator.embedded.stack import Stack

DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="FOLDER", help="Where its data is.")]

_PROFILE = "local"
_LOG = "up.log"


def up(
    data_dir: DataDir = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The API's; a free one by default.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, max=64, help="Worker processes.")] = 1,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="Jobs that each worker runs at once.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it is up.")] = False,
) -> None:
    """Start Neutrino on this machine.

    That is a Postgres, a Redis, the API, two schedulers and a worker, on loopback. Ctrl-C stops them.
    """
    folder = _folder(data_dir)
    if detach:
        options = {"--port": port, "--workers": workers, "--slots": slots}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        _start_in_background(folder, given, _how_to_stop(data_dir))
        return
    from orchestrator.embedded.stack import Stack

    note(f"Starting Neutrino in {folder} …", style="dim")
    began = time.monotonic()

    def ready(stack: Stack) -> None:
        path = _remember(stack)
        note(f"✓ Neutrino is up after {time.monotonic() - began:.1f} s at {stack.url}", style="green")
        note(f"  Profile  {_PROFILE} in {path}")
        note("  Try      neutrino run -- echo hello")
        note("  Look     neutrino ui")
        note(f"  Stop     Ctrl-C, or `{_how_to_stop(data_dir)}` from elsewhere")
        write(f"{stack.url}\n")

    Stack(folder, workers=workers, slots=slots, port=port).run(ready)
    note("Stopped.", style="dim")


def _remember(stack: Stack) -> Path:
    """Make the new stack the one that commands speak to, and say so when they spoke to another one."""
    from orchestrator.sdk.profile import Profile, current, save

    before = current()
    if before is not None and before.url != stack.url:
        note(f"Commands now go here; they went to {before.url} before (`neutrino login` goes back).", style="yellow")
    return save(Profile(stack.url, stack.admin_token, data_dir=str(stack.data_dir)), name=_PROFILE)


def _how_to_stop(data_dir: Path | None) -> str:
    return "neutrino down" if data_dir is None else f"neutrino down --data-dir {data_dir}"


def _start_in_background(folder: Path, options: list[str], stop: str) -> None:
    """Start `neutrino up` in a session of its own; its first line on standard output says that it is up."""
    from orchestrator.embedded import lock
    from orchestrator.embedded.folder import make, passable

    if lock.owner(folder) is not None:
        raise lock.taken(folder)
    make(folder, passable())
    log = folder / _LOG
    command = [sys.executable, "-m", "orchestrator.cli", "up", f"--data-dir={folder}", *options]
    note(f"Starting Neutrino in {folder} …", style="dim")
    with log.open("w") as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            text=True,
        )
    assert child.stdout is not None
    try:
        url = child.stdout.readline().strip()
    except KeyboardInterrupt:
        note("Stopping what was started …", style="dim")
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    if not url:
        code = child.wait()
        _, _, told = log.read_text().partition("Error: ")
        what, _, hint = told.strip().partition("\nHint: ")
        complain(what or "Neutrino did not start.", hint or f"Its log is {log}.")
        raise typer.Exit(code if code > 0 else 1)
    note(f"✓ Neutrino is up at {url} (process {child.pid})", style="green")
    note("  Try      neutrino run -- echo hello")
    note("  Look     neutrino ui")
    note(f"  Stop     {stop}")
    write(f"{url}\n")


def down(data_dir: DataDir = None) -> None:
    """Stop what `neutrino up` started. The data stays.

    Without --data-dir, that is the stack that commands speak to, or the one in the usual folder.
    """
    from orchestrator.embedded.stack import Stack

    folder = data_dir or _folder_in_use() or _folder(None)
    stack = Stack(folder)
    found = stack.status()
    parts = ", ".join(child.name for child in found.children if child.alive)
    stack.down()  # also what a killed one left behind
    if found.running:
        at = f" at {found.url}" if found.url else ""
        note(f"Stopped Neutrino{at} (process {found.pid}{f': {parts}' if parts else ''}).", style="green")
        note(f"  The data stays in {folder}")
        return
    note(f"Nothing runs on {folder}.")
    if data_dir is None:
        note("  If one runs on another folder, name it with --data-dir.")


def _folder_in_use() -> Path | None:
    """The folder of the stack that the profile points to, if one runs there."""
    from orchestrator.embedded import lock
    from orchestrator.sdk.profile import current

    profile = current()
    if profile is None or profile.data_dir is None or lock.owner(Path(profile.data_dir)) is None:
        return None
    return Path(profile.data_dir)


def _folder(data_dir: Path | None) -> Path:
    if data_dir is not None:
        return data_dir
    from orchestrator.embedded.stack import default_data_dir

    return default_data_dir()


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Train a classifier through the whole system."""
    from orchestrator.embedded.demo import main

    raise typer.Exit(main(keep=keep))
