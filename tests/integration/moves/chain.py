"""A job whose result depends on every step, in order and once: a chain of hashes. It saves itself as told, in a
tenth of a second, and needs nothing but the standard library."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any


def link(before: str, step: int) -> str:
    return hashlib.sha256(f"{before}{step}".encode()).hexdigest()


def after(steps: int) -> str:
    """The result of so many steps."""
    value = ""
    for step in range(1, steps + 1):
        value = link(value, step)
    return value


def grow(steps: int, pause: float = 0.01, every: int = 10, ballast: int = 0, frozen: int = 0) -> dict[str, Any]:
    """Run the chain; a checkpoint every so many steps, with so many bytes of ballast that are always others, and so
    many that stay the same, as the weights do which a fine-tuning does not touch."""
    import orchestrator as nu
    from orchestrator.domain.run import Interrupted

    run = nu.run()
    done, value = 0, ""
    if run.resume_dir is not None:
        saved = json.loads((run.resume_dir / "state.json").read_text())
        done, value = saved["step"], saved["value"]

    def save() -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "state.json").write_text(json.dumps({"step": done, "value": value}))
            if ballast:
                Path(folder, "ballast").write_bytes(os.urandom(1024) * (ballast // 1024))
            if frozen:
                Path(folder, "frozen").write_bytes(bytes(range(256)) * (frozen // 256))
            run.checkpoint(folder, step=done)

    while done < steps:
        value = link(value, done + 1)
        done += 1
        time.sleep(pause)
        run.log_metrics({"step": done}, step=done)
        if run.stopping:
            save()
            raise Interrupted
        if done % every == 0 or run.checkpoint_wanted:
            save()
    return {"value": value}
