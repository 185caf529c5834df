"""A function as a job: `train(lr=0.1)` runs here, `train.submit(lr=0.1)` runs there.

@nu.job(gpu="T4", retries=2, include=["model.py"])
def train(lr: float = 0.01) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, overload

from orchestrator.domain.errors import FieldError, InvalidSpec, NeutrinoError, nearest
from orchestrator.domain.spec import Command, Outputs, Placement, Resources, Retry, SourceFile
from orchestrator.sdk.annotated import fitted
from orchestrator.sdk.client import Client
from orchestrator.sdk.files import describe
from orchestrator.sdk.jobs import JobHandle
from orchestrator.sdk.plan import RUN_DIR
from orchestrator.sdk.source import find_source

if TYPE_CHECKING:
    from orchestrator.domain.written import PlacementFields

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Options:
    """What `@nu.job` was given."""

    name: str | None = None
    include: tuple[str, ...] = ()
    fields: Mapping[str, Any] | None = None


class _Taken(NamedTuple):
    """How the function is found in the job, and the files that come along, with their bytes."""

    entrypoint: str
    files: tuple[tuple[SourceFile, bytes], ...]


class JobFunction(Generic[P, R]):
    """A function that can also run as a job. Its parameters are the job's, and so must be plain JSON data."""

    def __init__(self, function: Callable[P, R], options: Options, client: Client | None = None) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._client = client

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here and now."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<job {self._function.__module__}:{self._function.__qualname__}>"

    def on(self, client: Client) -> JobFunction[P, R]:
        """The same function, submitted through this client instead of the default one."""
        return JobFunction(self._function, self._options, client)

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Run it as a job. Uploads the function's module and the included files.

        Raises InvalidSpec when a parameter is unknown, missing, or no JSON, or when a file cannot be taken
        along.
        """
        params = self._bind(args, kwargs)
        taken = self._take()
        spec = self._command(params, taken)
        client = self._connected()
        client.files.send(taken.files)
        return client.jobs.submit(spec)

    def map(self, parameters: Iterable[Mapping[str, Any]]) -> list[JobHandle]:
        """One job for each set of parameters: `train.map([{"lr": 0.1}, {"lr": 0.01}])`. All are checked
        before any is submitted."""
        sets = [self._bind((), given) for given in parameters]
        taken = self._take()
        specs = [self._command(params, taken) for params in sets]
        client = self._connected()
        client.files.send(taken.files)
        return client.jobs.submit_many(specs)

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The YAML of the job that `submit` would submit."""
        return self.command(*args, **kwargs).spec()

    def command(self, *args: P.args, **kwargs: P.kwargs) -> Command:
        """The spec of the job that `submit` would submit."""
        return self._command(self._bind(args, kwargs), self._take())

    def commands(self, parameters: Iterable[Mapping[str, Any]]) -> list[Command]:
        """The specs of the jobs that `map` would submit. Raises InvalidSpec for the first set with a fault."""
        sets = [self._bind((), given) for given in parameters]
        taken = self._take()
        return [self._command(params, taken) for params in sets]

    def _take(self) -> _Taken:
        """Look at the files once: what the jobs name is what is uploaded, whoever edits them meanwhile."""
        source = find_source(self._function, self._options.include)
        return _Taken(source.entrypoint, tuple(describe(path, local) for path, local in source.files.items()))

    def _command(self, params: dict[str, Any], taken: _Taken) -> Command:
        name = self._options.name or re.sub(r"[^a-z0-9]+", "-", self._function.__name__.lower()).strip("-")[:63]
        fields = self._options.fields or {}
        files = tuple(described for described, _ in taken.files)
        return Command(name=name, entrypoint=taken.entrypoint, files=files, params=params, **fields)

    def _connected(self) -> Client:
        if self._client is None and RUN_DIR in os.environ:
            hint = "Put it below `if __name__ == '__main__':`, so that importing the module does not submit again."
            raise NeutrinoError(f"{self._function.__name__} was submitted from inside a job.", hint=hint)
        return self._client or _default_client()

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, as the annotations want them. Raises InvalidSpec, before anything is sent."""
        signature = inspect.signature(self._function)
        known = list(signature.parameters)
        takes_any = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
        faults = [_unknown(key, known) for key in kwargs if key not in known and not takes_any]
        if faults:
            raise InvalidSpec.of(faults)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            hint = f"It is called as {self._function.__name__}{signature}."
            raise InvalidSpec.of([FieldError("spec.params", f"{error}.", hint)]) from None
        params: dict[str, Any] = {}
        for key, value in bound.arguments.items():
            kind = signature.parameters[key].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                params |= value
            elif kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY}:
                raise InvalidSpec.of([FieldError(f"spec.params.{key}", "a job's parameters are passed by name.")])
            else:
                params[key] = value
        return fitted(self._function, params)


def _unknown(key: str, known: Sequence[str]) -> FieldError:
    guess = nearest(key, known)
    hint = f"Did you mean {guess!r}?" if guess else f"Parameters: {', '.join(known) or 'none'}."
    return FieldError(f"spec.params.{key}", "unknown parameter.", hint)


@functools.cache
def _default_client() -> Client:
    """One connection pool for all functions of a program."""
    return Client()


@overload
def job(function: Callable[P, R], /) -> JobFunction[P, R]: ...
@overload
def job(
    *,
    name: str | None = ...,
    gpu: str | None = ...,
    cpu: float | None = ...,
    memory: str | None = ...,
    nodes: int | None = ...,
    retries: int = ...,
    timeout: str | float | None = ...,
    include: Iterable[str] = ...,
    inputs: Mapping[str, str] | None = ...,
    env: Mapping[str, str] | None = ...,
    labels: Mapping[str, str] | None = ...,
    placement: Placement | PlacementFields | None = ...,
    model: str | None = ...,
) -> Callable[[Callable[P, R]], JobFunction[P, R]]: ...
def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    gpu: str | None = None,
    cpu: float | None = None,
    memory: str | None = None,
    nodes: int | None = None,
    retries: int = 0,
    timeout: str | float | None = None,
    include: Iterable[str] = (),
    inputs: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    placement: Placement | PlacementFields | None = None,
    model: str | None = None,
) -> Any:
    """Turn a function into a job.

    `include` names the other files it needs, as paths or patterns relative to its own file; no other file
    is taken. `inputs` names the models and artifacts that it reads, such as `{"base": "model://digits@3"}`.
    `retries` counts the job's own errors, `timeout` is in seconds or written as `1h30m`, `model` registers what
    the function leaves behind as the next version of that model.
    Raises InvalidSpec for a value that no job can have.
    """
    wanted = {"gpu": gpu, "cpu": cpu, "memory": memory, "nodes": nodes}
    resources: dict[str, Any] = {key: value for key, value in wanted.items() if value is not None}
    given: dict[str, Any] = {"timeout": timeout, "inputs": inputs, "env": env, "labels": labels, "placement": placement}
    fields = {key: value for key, value in given.items() if value is not None}
    fields |= {"resources": Resources(**resources), "retry": Retry(max=retries), "outputs": Outputs(model=model)}
    options = Options(name=name, include=tuple(include), fields=fields)
    Command(name=name or "job", command=("true",), **fields)  # what cannot be is refused where it is written

    def decorate(target: Callable[..., Any]) -> JobFunction[..., Any]:
        return JobFunction(target, options)

    return decorate if function is None else decorate(function)
