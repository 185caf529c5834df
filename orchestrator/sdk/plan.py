"""What the agent writes down for an attempt's process, and how its folder is laid out.

    <data>/attempts/<number>/plan.json   this plan
                              work/       the working folder, with the user's files
                              output/     what is found here at the end becomes the artifact
                              resume/     the last committed checkpoint, if there is one
                              inputs/     a folder for each input of the spec, by its name, if there are any
                              checkpoints/ is watched: a folder STEP in it becomes a checkpoint once it holds DONE;
                                          WANTED appears there while somebody wants one
                              channel     a FIFO on which the process tells metrics, progress and checkpoints

A file and a FIFO, and not inherited descriptors, because programs close those for the programs they start
(a launcher of several ranks does): the path in NEUTRINO_RUN_DIR reaches all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

PLAN, WORK, OUTPUT, RESUME, CHANNEL = "plan.json", "work", "output", "resume", "channel"
INPUTS, SCRATCH = "inputs", "scratch"
CHECKPOINTS, DONE, WANTED = "checkpoints", "DONE", "WANTED"
RUN_DIR, CHECKPOINT_DIR = "NEUTRINO_RUN_DIR", "NEUTRINO_CHECKPOINT_DIR"
RESUME_DIR, RESUME_STEP = "NEUTRINO_RESUME_DIR", "NEUTRINO_RESUME_STEP"
INPUTS_DIR = "NEUTRINO_INPUTS_DIR"


def environment(
    folder: Path, given: dict[str, str], resume_step: int | None = None, *, reads: bool = False
) -> dict[str, str]:
    """What an attempt's process finds in its environment beside what the worker's account has: the variables `given` by
    the job's spec, and where it is, `reads` its inputs, checkpoints and goes on from."""
    work = str(folder / WORK)
    path = given.get("PYTHONPATH")
    resume = {} if resume_step is None else {RESUME_DIR: str(folder / RESUME), RESUME_STEP: str(resume_step)}
    return {
        "HOME": work,
        **given,
        "PYTHONPATH": f"{work}{os.pathsep}{path}" if path else work,
        RUN_DIR: str(folder),
        CHECKPOINT_DIR: str(folder / CHECKPOINTS),
        **resume,
        **({INPUTS_DIR: str(folder / INPUTS)} if reads else {}),
    }


class Plan(NamedTuple):
    """All that an attempt's process needs to know; `env` is `environment()`. It holds no secrets of the worker."""

    attempt: str
    workload: str
    params: dict[str, Any]
    dataset: str | None
    env: dict[str, str]
    command: list[str] | None
    entrypoint: str | None
    resume_step: int | None
    inputs: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Store the plan in the attempt's folder, over the one of an attempt before."""
        data = json.dumps(self._asdict(), separators=(",", ":")).encode()
        # Not O_TRUNC: ext4 sends a file that was emptied and written again to the disk when it is closed, which takes a
        # millisecond (`auto_da_alloc` in ext4(5)).
        fd = os.open(folder / PLAN, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if os.fstat(fd).st_size > len(data):
                os.ftruncate(fd, len(data))
        finally:
            os.close(fd)

    @classmethod
    def read(cls, folder: str) -> Plan:
        """The plan in an attempt's folder."""
        fd = os.open(f"{folder}/{PLAN}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Decoded here, because json looks for the encoding of bytes at some length, in every attempt (ADR 0005).
            return cls(**json.loads(os.read(fd, os.fstat(fd).st_size).decode()))
        finally:
            os.close(fd)
