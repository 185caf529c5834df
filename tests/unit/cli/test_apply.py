"""`neutrino apply` against an API that answers as it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import main
from tests.unit.sdk.conftest import Reply, Request, ScriptedApi, api

__all__ = ["api"]


def test_a_copy_that_has_the_name_of_a_job_is_not_its_last_run(
    api: ScriptedApi,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(request: Request) -> Reply:
        if request.path == "/v1/plan":
            return Reply(json={"job": "", "state": "QUEUED", "reason": "planned", "message": "Would start at once."})
        assert request.query["kind"] == ["Command"]  # and not the copy, which is no document that people write
        return Reply(json={"items": [], "next": None})

    api.answers(answer)
    monkeypatch.setenv("NEUTRINO_API_URL", api.url)
    monkeypatch.setenv("NEUTRINO_TOKEN", "nobody")
    job = tmp_path / "job.yaml"
    job.write_text("apiVersion: neutrino/v1\nkind: Command\nmetadata: {name: migrate-digits-1}\nspec: {command: [a]}\n")
    assert main(["apply", "-f", str(job), "--dry-run"]) == 0
    assert "the first of this name" in capsys.readouterr().out
