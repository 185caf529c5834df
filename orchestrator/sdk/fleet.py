"""What the platform is made of: pools, workers, and the tokens of people and machines."""

from __future__ import annotations

from orchestrator.domain.checks import StoreCheck
from orchestrator.domain.views import (
    CreatePool,
    CreateToken,
    Page,
    PoolView,
    SetPrice,
    TokenCreated,
    TokenView,
    WorkerView,
)
from orchestrator.sdk.binding import Bound, D, Operation, Streaming
from orchestrator.sdk.steps import Call, Steps, Stream
from orchestrator.sdk.transport import decode, exchange, pages, path, post


class Pools(Bound[D]):
    """Workers of one shape."""

    @Streaming
    def list(self) -> Stream[PoolView]:
        """All pools."""
        yield from pages("/v1/pools", PoolView)

    @Operation
    def create(self, pool: CreatePool) -> Steps[PoolView]:
        """Add a pool. Raises Conflict when its name is taken."""
        return (yield from post("/v1/pools", PoolView, pool.model_dump(mode="json")))

    @Operation
    def set_price(self, pool: str, usd_per_hour: float | None) -> Steps[PoolView]:
        """Say what one slot costs for an hour, also for what has run there before; None: unknown. Raises NotFound."""
        price = SetPrice(usd_per_hour=usd_per_hour)
        call = Call("PUT", f"{path('pools', pool)}/price", json=price.model_dump(mode="json"))
        return decode((yield from exchange(call)), PoolView)

    @Operation
    def check_stores(self) -> Steps[Page[StoreCheck]]:
        """Let the API write, read and delete a small object in the store of each pool."""
        return (yield from post("/v1/stores/check", Page[StoreCheck]))


class Workers(Bound[D]):
    """Processes that run jobs."""

    @Streaming
    def list(self) -> Stream[WorkerView]:
        """All workers, those that have gone lately included."""
        yield from pages("/v1/workers", WorkerView)

    @Operation
    def drain(self, worker: str) -> Steps[WorkerView]:
        """Let the worker finish or checkpoint what it runs, and take nothing new."""
        return (yield from post(f"{path('workers', worker)}/drain", WorkerView))


class Tokens(Bound[D]):
    """The tokens of this workspace, without their secrets."""

    @Streaming
    def list(self) -> Stream[TokenView]:
        """All tokens."""
        yield from pages("/v1/tokens", TokenView)

    @Operation
    def create(self, token: CreateToken) -> Steps[TokenCreated]:
        """Make a token; the answer is the only one that ever holds its secret."""
        return (yield from post("/v1/tokens", TokenCreated, token.model_dump(mode="json")))

    @Operation
    def revoke(self, token: str) -> Steps[None]:
        """End a token at once."""
        yield from exchange(Call("DELETE", path("tokens", token)))
