"""Specs as the YAML that a person would write."""

from __future__ import annotations

from orchestrator.domain.spec import JobSpec
from orchestrator.domain.yaml import dump

_FIRST = ("workload", "dataset", "command", "entrypoint")


def to_yaml(spec: JobSpec) -> str:
    """The YAML of a spec, what the job runs first. Reading it gives back an equal spec."""
    document = spec.document()
    body = document["spec"]
    document["spec"] = {key: body[key] for key in _FIRST if key in body} | body
    return dump(document)
