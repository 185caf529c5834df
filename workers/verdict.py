"""How the end of a process becomes the reason that is reported: a pure function."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from orchestrator.domain.state import Reason
from workers.child import INTERRUPTED_CODE
from workers.runner import Exit

_LONGEST = 2000
# What the kernel sends to a process for what it did itself. Any other signal somebody may have sent from outside, and
# the kernel does not tell who: how often that is believed is for `orchestrator.domain.retry` to say.
_OWN_DOING = {
    getattr(signal, name)
    for name in "SIGSEGV SIGABRT SIGBUS SIGFPE SIGILL SIGTRAP SIGSYS SIGPIPE SIGXCPU SIGXFSZ".split()  # noqa: SIM905
}
# What Python, numpy and torch call it. It is the last line of a traceback.
_OUT_OF_MEMORY = re.compile(r"^([\w.]+\.)?(MemoryError|_ArrayMemoryError|OutOfMemoryError)\b")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The reason for programs, the sentence for people, the exit code if there was one, and the stores in which damage
    was found."""

    reason: Reason
    message: str = ""
    exit_code: int | None = None
    damaged: tuple[str, ...] = ()


CANCELLED = Verdict(Reason.CANCELLED_BY_USER, "Cancelled.")
DEAR = Verdict(Reason.CANCELLED_BY_USER, "It has cost what it may (placement.maxCostUsd).")
MOVING = Verdict(Reason.MIGRATING, "It goes on in another cloud; what was checkpointed goes with it.")


def verdict(end: Exit, stop: Verdict | None, last_stderr: str, *, kernel_oom: bool) -> Verdict:
    """What to report. `stop` is why the worker itself ended the attempt, if it did: then nothing else counts, not even
    an exit code of 0, because programs that were asked to stop like to end with 0. `kernel_oom` tells that the kernel
    killed something for lack of memory while the attempt ran."""
    code = end.code if end.code is not None and end.code >= 0 else None
    if stop is not None:
        return Verdict(stop.reason, stop.message, code)
    if end.code is None:
        return Verdict(Reason.INFRA_ERROR, end.fault)
    if end.fault:
        return Verdict(Reason.USER_ERROR, end.fault, code)
    if end.code == 0:
        return Verdict(Reason.SUCCEEDED, "", 0)
    if end.code < 0:
        return _killed(-end.code, kernel_oom=kernel_oom)
    if _OUT_OF_MEMORY.match(last_stderr):
        return Verdict(Reason.OOM, f"Out of memory: {_cut(last_stderr)}", code)
    if end.code == INTERRUPTED_CODE:
        return Verdict(Reason.USER_ERROR, f"Interrupted itself, although nobody asked it to (exit code {code}).", code)
    said = f": {_cut(last_stderr)}" if last_stderr else "."
    return Verdict(Reason.USER_ERROR, f"Exit code {code}{said}", code)


def _killed(number: int, *, kernel_oom: bool) -> Verdict:
    if number == signal.SIGKILL and kernel_oom:
        return Verdict(
            Reason.OOM, "Out of memory: the kernel killed it, because the machine or container had none left."
        )
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if number in _OWN_DOING:
        return Verdict(Reason.USER_ERROR, f"Crashed with {name}.")
    return Verdict(Reason.KILLED, f"Killed by {name}, which the worker did not send.")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
