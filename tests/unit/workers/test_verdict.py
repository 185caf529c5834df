"""From the end of a process to the reason that is reported."""

from __future__ import annotations

import pytest

from orchestrator.domain.state import Reason
from workers.child import INTERRUPTED_CODE
from workers.runner import Exit
from workers.verdict import Verdict, verdict

_CANCEL = Verdict(Reason.CANCELLED_BY_USER, "Cancelled.")


@pytest.mark.parametrize(
    ("end", "stderr", "kernel_oom", "reason", "words"),
    [
        (Exit(0), "", False, Reason.SUCCEEDED, ""),
        (Exit(3), "ValueError: bad", False, Reason.USER_ERROR, "Exit code 3: ValueError: bad"),
        (Exit(3), "", False, Reason.USER_ERROR, "Exit code 3."),
        (Exit(1), "MemoryError", False, Reason.OOM, "MemoryError"),
        (Exit(1), "torch.OutOfMemoryError: CUDA out of memory.", False, Reason.OOM, "CUDA"),
        (Exit(1), "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 TiB", False, Reason.OOM, "8 TiB"),
        (Exit(1), "the MemoryError was handled", False, Reason.USER_ERROR, "handled"),
        (Exit(-9), "", False, Reason.KILLED, "SIGKILL"),
        (Exit(-9), "", True, Reason.OOM, "kernel"),
        (Exit(-15), "", True, Reason.KILLED, "SIGTERM"),
        (Exit(-11), "", True, Reason.USER_ERROR, "Crashed with SIGSEGV"),
        (Exit(-6), "", False, Reason.USER_ERROR, "SIGABRT"),
        (Exit(-40), "", False, Reason.KILLED, "signal 40"),
        (Exit(None, "It died."), "", False, Reason.INFRA_ERROR, "It died."),
        (Exit(-9, "Too many processes: 600 at once."), "", False, Reason.USER_ERROR, "600"),
        (Exit(INTERRUPTED_CODE), "", False, Reason.USER_ERROR, "nobody asked"),
    ],
)
def test_ends_by_itself(end: Exit, stderr: str, kernel_oom: bool, reason: Reason, words: str) -> None:
    found = verdict(end, None, stderr, kernel_oom=kernel_oom)
    assert found.reason is reason
    assert words in found.message


@pytest.mark.parametrize("end", [Exit(0), Exit(-15), Exit(INTERRUPTED_CODE), Exit(None)])
def test_what_the_worker_asked_for_counts_whatever_the_exit_code(end: Exit) -> None:
    assert verdict(end, _CANCEL, "MemoryError", kernel_oom=True).reason is Reason.CANCELLED_BY_USER


def test_a_long_last_line_is_cut() -> None:
    assert len(verdict(Exit(1), None, "x" * 16_000, kernel_oom=False).message) < 4096
