"""What is written wrongly is refused before anything is asked of the API, as the user's fault and not as ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import main

POOL = ("pool", "create", "a", "--store", "file:///a")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((*POOL, "--preset", "eks"), 2, "needs --cluster"),
        ((*POOL, "--pods", "pods.yaml"), 2, "needs --cluster"),
        ((*POOL, "--cluster", "c", "--pods", "pods.yaml"), 5, "'no' is not"),
        (("cluster", "add", "a", "--kind", "foo"), 5, "'foo' is not one of"),
        (("notification", "create", "a", "--email", "nobody"), 5, "target"),
        (("model", "migrate", "digits", "--to", "gcp", "--limit", "fast"), 2, "'fast' is not a rate"),
        (("run", "--spot", "sometimes", "--", "true"), 5, "'sometimes' is not one of"),
    ],
)
def test_it_is_refused_by_name(
    arguments: tuple[str, ...],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUTRINO_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NEUTRINO_TOKEN", "nobody")
    Path("pods.yaml").write_text("preset: no\n")  # for YAML 1.1 that is false
    assert main(list(arguments)) == code
    assert said in " ".join(capsys.readouterr().err.split())
