"""The forked process of one attempt, from the fork to its exit.

The process leads a session and a group of its own, dies with the zygote, and is the subreaper of everything it starts,
so that what it leaves behind can be found. When the job is a Python function or a workload, it runs right here. When it
is an argv, this process stays as its parent, the way an init does, and cleans up after it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import atexit
import gc
import importlib
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn

from orchestrator.domain.run import Interrupted, Run
from orchestrator.sdk.plan import WORK, Plan
from orchestrator.sdk.run import attach
from workers import proctree
from workers.workloads import command

INTERRUPTED_CODE = 75  # EX_TEMPFAIL of sysexits.h: saved, to be gone on with elsewhere
_NOT_FOUND_CODE, _NOT_EXECUTABLE_CODE = 127, 126  # as every shell has it
_PROGRAM_DEFAULTS = (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
_MOST_DESCRIPTORS = max(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
_OUR_FILES = frozenset({__file__, command.__file__})


def main(folder: str, stdio: list[int], zygote: int, workloads: Mapping[str, str]) -> NoReturn:
    """Become the attempt of `folder`, with `stdio` as its stdout and stderr. Ends the process.

    What comes before the user's code is kept small: after a fork every page that Python touches is copied. The plan is
    read here and not by the zygote, so that no process ever holds the plan of another attempt.
    """
    work = f"{folder}/{WORK}"
    _isolate(work, stdio, zygote)
    plan = Plan.read(folder)
    for name, value in plan.env.items():  # not update(), which asks abstract base classes and touches their pages
        os.environ[name] = value
    if plan.command is not None:
        _be_init_of(plan.command)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.path.insert(0, work)
    gc.enable()
    _leave(_call(plan, workloads, attach(folder, plan)))


def _isolate(work: str, stdio: list[int], zygote: int) -> None:
    os.setsid()
    proctree.die_with_parent()
    if os.getppid() != zygote:  # it died before we asked to be told
        os.kill(os.getpid(), signal.SIGKILL)
    proctree.become_subreaper()
    signal.set_wakeup_fd(-1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in enumerate((nothing, *stdio)):
        os.dup2(source, target)
    os.closerange(3, _MOST_DESCRIPTORS)
    os.chdir(work)


def _call(plan: Plan, workloads: Mapping[str, str], run: Run) -> int:
    """Run the user's code and turn its end into an exit code, the way the interpreter does."""
    try:
        # The zygote had it wait; now `run` has the handler. `_signal` is `signal` without its enums.
        _signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        if plan.entrypoint is not None:
            command.call(run, plan.entrypoint)
        else:
            module, _, name = workloads[plan.workload].partition(":")
            getattr(importlib.import_module(module), name)(run)
        _join_threads()
    except SystemExit as end:
        return _exit_code(end)
    except Interrupted:
        return INTERRUPTED_CODE
    except BaseException:  # noqa: BLE001 - user code may raise anything; this is the outermost frame
        _print_exception()
        return 1
    return 0


def _join_threads() -> None:
    """Wait for the threads that user code has left running. The zygote does not import `threading`, because that makes
    each fork run Python code; so when it is not there, there are no threads."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()


def _print_exception() -> None:
    """The traceback as Python prints it, from the user's own code on."""
    kind, error, trace = sys.exc_info()
    assert kind is not None
    assert error is not None
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename in _OUR_FILES:
        trace = trace.tb_next
    sys.excepthook(kind, error.with_traceback(trace), trace)


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    sys.stderr.write(f"{end.code}\n")
    return 1


def _leave(code: int) -> NoReturn:
    """Exit without the interpreter's slow end, but with all that user code may count on; nothing stays behind."""
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit skips them
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - a broken exit handler must not keep the process alive
        _print_exception()
    _reap_the_rest()
    os._exit(code)


def _reap_the_rest() -> None:
    """End everything below this process. As a subreaper it is told by wait() whether there is anything."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] != 0:
                continue
        except ChildProcessError:
            return
        proctree.kill_trees(proctree.children(os.getpid()))
        os.waitpid(-1, 0)


def _be_init_of(argv: list[str]) -> NoReturn:
    """Run a program, wait for it, clean up after it, and end the way it ended."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is meant for the program, which gets it through the group
    program = os.fork()
    if program == 0:
        _exec(argv)
    if signal.SIGTERM in signal.sigpending():  # it may have come before there was a program
        os.kill(program, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    ended = 0
    while ended != program:
        ended, status = os.wait()
    _reap_the_rest()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _exec(argv: list[str]) -> NoReturn:
    for number in _PROGRAM_DEFAULTS:  # an ignored signal stays ignored in the new program
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    proctree.die_with_parent()
    try:
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - an argv, and no shell, is what the user gave
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(_NOT_FOUND_CODE if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE_CODE)
