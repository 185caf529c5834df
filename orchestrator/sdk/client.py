"""The way in: `Client` blocks, `AsyncClient` is awaited; both have the same names."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Generic, Self

import httpx

from orchestrator.domain.protocol import Health
from orchestrator.domain.views import SignInLink, StatusView, WhoAmI
from orchestrator.sdk.audit import Audit
from orchestrator.sdk.binding import Bound, D, Operation
from orchestrator.sdk.clusters import Clusters
from orchestrator.sdk.drivers import Async, Sync
from orchestrator.sdk.files import Files
from orchestrator.sdk.fleet import Pools, Tokens, Workers
from orchestrator.sdk.jobs import Jobs
from orchestrator.sdk.migrations import Migrations
from orchestrator.sdk.models import Models
from orchestrator.sdk.notifications import Notifications
from orchestrator.sdk.profile import Profile, resolve
from orchestrator.sdk.steps import Steps
from orchestrator.sdk.transport import RETRIES, get, post

_LOOPBACK = (
    "all://127.0.0.1",
    "all://localhost",
    "all://[::1]",
)  # never through a proxy, whatever the environment says


class _Api(Bound[D], Generic[D]):
    """What both clients offer."""

    def __init__(self, profile: Profile, driver: D) -> None:
        super().__init__(driver)
        self.url = profile.url
        self.jobs = Jobs(driver)
        self.models = Models(driver)
        self.migrations = Migrations(driver)
        self.files = Files(driver)
        self.pools = Pools(driver)
        self.clusters = Clusters(driver)
        self.workers = Workers(driver)
        self.tokens = Tokens(driver)
        self.audit = Audit(driver)
        self.notifications = Notifications(driver)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @Operation
    def whoami(self) -> Steps[WhoAmI]:
        """Who the token belongs to, and what it may do."""
        return (yield from get("/v1/whoami", WhoAmI))

    @Operation
    def status(self) -> Steps[StatusView]:
        """The state of the control plane: jobs by state, and when each part last showed itself."""
        return (yield from get("/v1/status", StatusView))

    @Operation
    def sign_in_link(self) -> Steps[SignInLink]:
        """Where a browser goes to be signed in to the dashboard as the caller: once, within a minute."""
        return (yield from post("/v1/sessions", SignInLink))

    @Operation
    def ready(self) -> Steps[Health]:
        """Whether the API and its database answer; needs no token. Raises ServerUnavailable when they do not."""
        return (yield from get("/readyz", Health))


def _http_options(profile: Profile) -> dict[str, Any]:
    headers = {"User-Agent": "neutrino-python", "Accept": "application/json"}
    if profile.token:
        headers["Authorization"] = f"Bearer {profile.token}"
    return {"base_url": profile.url, "headers": headers, "mounts": dict.fromkeys(_LOOPBACK)}


class Client(_Api[Sync]):
    """Talks to a Neutrino API.

    `url` and `token` come from NEUTRINO_API_URL and NEUTRINO_TOKEN, or from the profile that `neutrino
    login` wrote, when they are not given. Thread-safe. Requests are repeated, `retries` times at most, on a lost
    connection, 429 and 502 to 504; a POST takes effect once all the same.

    Raises AuthenticationError when no API is known. Every operation raises the errors of
    `orchestrator.domain.errors`.
    """

    def __init__(self, url: str | None = None, token: str | None = None, *, retries: int = RETRIES) -> None:
        profile = resolve(url, token)
        super().__init__(profile, Sync(httpx.Client(**_http_options(profile)), retries))

    def close(self) -> None:
        """Close the connections."""
        self.driver.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(_Api[Async]):
    """`Client` for asyncio: the same names, awaited; lists, logs and events are asynchronous iterators."""

    def __init__(self, url: str | None = None, token: str | None = None, *, retries: int = RETRIES) -> None:
        profile = resolve(url, token)
        super().__init__(profile, Async(httpx.AsyncClient(**_http_options(profile)), retries))

    async def close(self) -> None:
        """Close the connections."""
        await self.driver.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
