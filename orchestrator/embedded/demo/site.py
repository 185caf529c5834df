"""What the steps of the demonstration share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from rich.console import Console

from orchestrator import Client
from orchestrator.embedded.stack import Stack
from orchestrator.sdk.drivers import Sync
from orchestrator.sdk.models import ModelVersion

WEIGHTS = "model.safetensors"
PATIENCE_SECONDS = 300.0


class Fact(NamedTuple):
    """Something that should have happened, what was found, and whether it did."""

    what: str
    found: str
    fine: bool


@dataclass
class Site:
    """The stack, a client of it, and the address of each cloud's store. Steps leave here what later ones go on with:
    `model` and the SHA-256 of its weights."""

    stack: Stack
    client: Client
    console: Console
    folder: Path
    stores: Mapping[str, str]
    model: ModelVersion[Sync] | None = field(default=None)
    weights: str = ""


Step: TypeAlias = Callable[[Site], list[Fact]]
