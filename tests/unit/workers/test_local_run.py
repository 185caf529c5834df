"""`nu.run()` outside a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.domain.run import Run
from orchestrator.sdk.run import LocalRun


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return LocalRun(tmp_path / "run")


def test_metrics_and_progress_are_printed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.log_metrics({"loss": 0.5})
    run.log_metrics({"loss": float("nan")}, step=7)
    run.log_metrics({"loss": 0.25})
    run.progress(0.5, "half")
    assert capsys.readouterr().err.splitlines() == [
        "step 0  loss=0.5",
        "step 7  loss=None",
        "step 8  loss=0.25",
        "50%  half",
    ]


def test_outputs_and_checkpoints_are_folders(run: Run, tmp_path: Path) -> None:
    (run.output_dir / "model").write_text("m")
    made = tmp_path / "ckpt"
    made.mkdir()
    (made / "state").write_text("s")
    run.checkpoint(made, 3)
    assert (tmp_path / "run/output/model").read_text() == "m"
    assert (tmp_path / "run/checkpoints/3/state").read_text() == "s"
    assert run.scratch_dir.is_dir()
    assert run.resume_dir is None
    assert run.id == "local"
    assert not run.stopping


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129, 3])
def test_names_that_cannot_be_stored_are_refused(run: Run, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a metric"):
        run.log_metrics({name: 1.0})


def test_nonsense_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        run.progress(float("nan"))
    with pytest.raises(ValueError, match="step"):
        run.log_metrics({"loss": 1.0}, step=-1)
    with pytest.raises(NotADirectoryError):
        run.checkpoint(tmp_path / "missing", 1)
