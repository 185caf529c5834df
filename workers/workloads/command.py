"""The `command` workload: the user's own program, an argv or a Python function named `module:function`."""

from __future__ import annotations

import importlib
import json
import operator
import sys
from typing import Any

from orchestrator.domain.run import Run

RESULT = "result.json"


def call(run: Run, entrypoint: str) -> None:
    """Call `module:function` with the job's parameters; what it returns, if anything, is kept as `result.json`.

    Raises whatever the function raises; TypeError when its result cannot be written as JSON.
    """
    module, _, name = entrypoint.partition(":")
    sys.argv = [entrypoint]
    function: Any = operator.attrgetter(name)(importlib.import_module(module))
    result = function(**run.params)
    if result is not None:
        text = json.dumps(result, indent=2, ensure_ascii=False)
        (run.output_dir / RESULT).write_text(text + "\n", encoding="utf-8")
