"""Which files a function needs to run elsewhere: its own module, and what the user named. Nothing else is
ever taken."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.domain.errors import FieldError, InvalidSpec


@dataclass(frozen=True, slots=True)
class Source:
    """Where a function lives: `module:name`, and the files, as `{path in the job: file here}`."""

    entrypoint: str
    files: dict[str, Path]


def find_source(function: Callable[..., Any], include: Iterable[str]) -> Source:
    """The module of a function with the included files; `include` holds paths and patterns relative to the
    module's file.

    Raises InvalidSpec when the function cannot be found again by its name in another process.
    """
    if "<" in function.__qualname__:
        where = function.__qualname__.rpartition(".")[0].replace(".<locals>", "()")
        raise _fault(
            "spec.entrypoint", f"{function.__name__} is defined inside {where}.", "Move it to the top of its module."
        )
    file = _module_file(function)
    module = _module_name(function, file)
    place = PurePosixPath(*module.split("."))
    home = PurePosixPath(place.parent)
    own = f"{place}/__init__.py" if file.name == "__init__.py" else f"{place}.py"
    files = {own: file}
    for pattern in include:
        files |= {str(home / path): found for path, found in _matches(pattern, file.parent)}
    return Source(f"{module}:{function.__qualname__}", files)


def _module_file(function: Callable[..., Any]) -> Path:
    module = sys.modules[function.__module__]
    name = getattr(module, "__file__", None)
    if name is None or not Path(name).is_file():
        hint = (
            "Save it in a file and import it from there; in a notebook, a cell that begins with `%%writefile train.py`."
        )
        raise _fault("spec.entrypoint", f"{function.__name__} was typed into a session, so no file holds it.", hint)
    return Path(name).resolve()


def _module_name(function: Callable[..., Any], file: Path) -> str:
    """The name under which the module can be imported elsewhere: a script goes by the name of its file."""
    if function.__module__ != "__main__":
        return function.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:  # python -m package.module
        return str(spec.name).removesuffix(".__main__")
    if not re.fullmatch(r"[A-Za-z_]\w*", file.stem):
        hint = f"Call it {re.sub(r'[^A-Za-z0-9_]', '_', file.stem)}.py, say."
        raise _fault("spec.entrypoint", f"{file.name} cannot be imported under that name.", hint)
    return file.stem


def _matches(pattern: str, root: Path) -> list[tuple[str, Path]]:
    """The files that a path or pattern names, with their paths below `root`."""
    if not pattern or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise _fault("include", f"{pattern!r} leads out of the function's folder.", f"Name files below {root}.")
    found = [path for path in sorted(root.glob(pattern)) if path.is_file()]
    if not found:
        hint = f"Write {pattern.rstrip('/')}/** for all files below it." if (root / pattern).is_dir() else None
        raise _fault("include", f"no file matches {pattern!r} in {root}.", hint)
    for path in found:
        if not path.resolve().is_relative_to(root):
            raise _fault("include", f"{path} is a link that leads out of the function's folder.", "Include a copy.")
    return [(path.relative_to(root).as_posix(), path) for path in found]


def _fault(path: str, message: str, hint: str | None = None) -> InvalidSpec:
    return InvalidSpec.of([FieldError(path, message, hint)])
