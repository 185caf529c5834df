"""`neutrino demo`: three clouds on this machine, and what Neutrino does between them.

Three pools stand for aws, gcp and azure, each with a store server of its cloud's protocol. What is shown are `STEPS`:
each does something through the whole system, proves that it happened, and tells it as facts for the table at the end.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator import Client
from orchestrator.embedded.demo import migrating, moving, training
from orchestrator.embedded.demo.clouds import require, three_clouds
from orchestrator.embedded.demo.site import Fact, Site, Step

STEPS: tuple[Step, ...] = (training.run, migrating.run, moving.run)


def main(*, keep: bool = False) -> int:
    """Run the demonstration; 0 only if all of it happened. With `keep`, the stack stays up until Ctrl-C."""
    require()
    console = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="neutrino-demo-"))
    folder.chmod(0o711)  # Postgres may run as another account and has to pass through
    began = time.monotonic()
    facts: list[Fact] = []
    try:
        console.print("[bold]Neutrino demo[/]: Postgres, Redis, API, scheduler, three clouds with a worker each …")
        with three_clouds(folder) as (stack, stores):
            console.print(f"✓ Up at {stack.url} after {time.monotonic() - began:.1f} s", style="green")
            with Client(url=stack.url, token=stack.admin_token) as client:
                site = Site(stack, client, console, folder, stores)
                for step in STEPS:
                    facts += step(site)
            _show(facts, time.monotonic() - began)
            fine = all(fact.fine for fact in facts)
            if keep and fine:
                _wait(site)
        return 0 if fine else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _show(facts: list[Fact], seconds: float) -> None:
    table = Table(title="What happened", title_justify="left", show_header=False)
    for fact in facts:
        table.add_row("✓" if fact.fine else "✗", fact.what, fact.found, style=None if fact.fine else "red")
    out = Console()
    out.print(table)
    if faults := [fact.what for fact in facts if not fact.fine]:
        out.print("✗ " + "; ".join(faults), style="red")
    else:
        out.print(f"✓ All of it, in {seconds:.0f} s.", style="green")


def _wait(site: Site) -> None:
    stack, console = site.stack, site.console
    console.print(f"The API stays up at {stack.url}; Ctrl-C stops it. In another terminal:")
    console.print(f"  export NEUTRINO_API_URL={stack.url} NEUTRINO_TOKEN={stack.admin_token}")
    console.print("  neutrino ps; neutrino model list; neutrino migration list")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("Stopping.")
