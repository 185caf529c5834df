"""Specs as the YAML that a person would write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.domain.spec import JobSpec
from orchestrator.domain.yaml import dump

_FIRST = ("workload", "dataset", "command", "entrypoint")


def to_yaml(job: JobSpec | Mapping[str, Any]) -> str:
    """The YAML of a spec or of its document, what the job runs first. Reading it gives back an equal spec."""
    document = dict(job.document() if isinstance(job, JobSpec) else job)
    body = document["spec"]
    document["spec"] = {key: body[key] for key in _FIRST if key in body} | body
    return dump(document)
