"""Operations as data: what to do next, without doing it.

An SDK operation is a generator. It yields steps ("send this call", "sleep a second"), gets each outcome
back and returns its result; `orchestrator.sdk.drivers` performs the steps, once with threads and once with
asyncio. So retries, paging, resuming and polling are written once, and `Client` and `AsyncClient` cannot
drift apart.

    def whoami(self) -> Steps[WhoAmI]:
        reply = yield Send(Call("GET", "/v1/whoami"))
        return WhoAmI.model_validate_json(reply.content)
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

READ_TIMEOUT = 30.0  # seconds of silence after which an ordinary request is given up


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to the API; `read_timeout` in seconds."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    read_timeout: float = READ_TIMEOUT


class Send(NamedTuple):
    """Send the call; the outcome is the `httpx.Response` with its body."""

    call: Call


class Open(NamedTuple):
    """Send the call; the outcome is the `httpx.Response`, whose body is then read by `Read`. It replaces
    the stream that was open before; the driver closes the last one when the operation ends, however it
    ends."""

    call: Call


class Read(NamedTuple):
    """The next bytes of the open stream; empty at its end."""


class Sleep(NamedTuple):
    """Do nothing for some seconds."""

    seconds: float


class Patience(NamedTuple):
    """The outcome is how often this client repeats a call that failed for the moment."""


class Emit(NamedTuple, Generic[T]):
    """Hand a value to whoever iterates over the operation."""

    value: T


Step: TypeAlias = Send | Open | Read | Sleep | Patience
Steps: TypeAlias = Generator[Step, Any, T]  # an operation that returns a T
Stream: TypeAlias = Generator[Step | Emit[T], Any, None]  # an operation that hands out Ts one after another


class Done(NamedTuple, Generic[T]):
    """The operation has returned."""

    value: T


class Outcome(NamedTuple):
    """What came of a step: a value, or the error to raise inside the operation."""

    value: Any = None
    error: BaseException | None = None


def advance(steps: Generator[Any, Any, T], outcome: Outcome) -> Any:
    """Run the operation up to its next step: a Step, an Emit, or Done. Errors of the operation pass
    through."""
    try:
        return steps.throw(outcome.error) if outcome.error else steps.send(outcome.value)
    except StopIteration as stop:
        return Done(stop.value)
