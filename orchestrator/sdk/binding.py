"""Turns operations (generators of steps) into methods: blocking ones on `Client`, awaitable ones on
`AsyncClient`.

The driver that an object is bound to decides which, at run time and for the type checker alike:
`Bound[Sync]` has `get(id) -> JobHandle`, `Bound[Async]` has `get(id) -> Coroutine[JobHandle]`, and both are
the same few lines.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, cast, overload

from typing_extensions import TypeVar

from orchestrator.sdk.drivers import Async, Sync
from orchestrator.sdk.steps import Steps, Stream

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=Sync | Async, default=Sync)


class Bound(Generic[D]):
    """Something whose operations are performed by a driver."""

    def __init__(self, driver: D) -> None:
        self.driver: D = driver


class Operation(Generic[P, T]):
    """A method that talks to the API and returns a T."""

    def __init__(self, function: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), function)
        self.steps = function

    @overload
    def __get__(self, instance: None, owner: type) -> Operation[P, T]: ...
    @overload
    def __get__(self, instance: Bound[Sync], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: Bound[Async], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return _method(self.steps, instance, instance.driver.run)


class Streaming(Generic[P, T]):
    """A method that hands out Ts for as long as the API has them."""

    def __init__(self, function: Callable[Concatenate[Any, P], Stream[T]]) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), function)
        self.steps = function

    @overload
    def __get__(self, instance: None, owner: type) -> Streaming[P, T]: ...
    @overload
    def __get__(self, instance: Bound[Sync], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: Bound[Async], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        return _method(self.steps, instance, instance.driver.iterate)


class Fetched(Generic[T]):
    """An attribute that is asked of the API each time: `job.metrics`, or `await job.metrics`."""

    def __init__(self, function: Callable[[Any], Steps[T]]) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), function)
        self.steps = function

    @overload
    def __get__(self, instance: None, owner: type) -> Fetched[T]: ...
    @overload
    def __get__(self, instance: Bound[Sync], owner: type) -> T: ...
    @overload
    def __get__(self, instance: Bound[Async], owner: type) -> Coroutine[Any, Any, T]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance.driver.run(self.steps(instance))


def _method(function: Callable[..., Any], instance: Any, perform: Callable[[Any], Any]) -> Callable[..., Any]:
    operation = functools.partial(function, instance)

    @functools.wraps(function.__get__(instance))  # a bound method: `help()` shows the signature without `self`
    def call(*args: Any, **kwargs: Any) -> Any:
        return perform(operation(*args, **kwargs))

    return call
