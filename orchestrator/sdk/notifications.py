"""Who is told when a job comes to a state."""

from __future__ import annotations

from orchestrator.domain.notifications import CreateNotification, DeliveryView, NotificationCreated, NotificationView
from orchestrator.domain.views import Page
from orchestrator.sdk.binding import Bound, D, Operation, Streaming
from orchestrator.sdk.steps import Call, Steps, Stream
from orchestrator.sdk.transport import exchange, get, pages, path, post


class Notifications(Bound[D]):
    """The notifications of this workspace."""

    @Streaming
    def list(self) -> Stream[NotificationView]:
        """All notifications."""
        yield from pages("/v1/notifications", NotificationView)

    @Operation
    def create(self, wanted: CreateNotification) -> Steps[NotificationCreated]:
        """Add one. The answer is the only one that holds the secret of a webhook. Raises Conflict."""
        return (yield from post("/v1/notifications", NotificationCreated, wanted.model_dump(mode="json")))

    @Operation
    def delete(self, name: str) -> Steps[None]:
        """Remove one, and what is on its way."""
        yield from exchange(Call("DELETE", path("notifications", name)))

    @Operation
    def test(self, name: str) -> Steps[Page[DeliveryView]]:
        """Send a trial."""
        return (yield from post(f"{path('notifications', name)}/test", Page[DeliveryView]))

    @Operation
    def deliveries(self, name: str, limit: int = 50) -> Steps[Page[DeliveryView]]:
        """Its newest deliveries, with what went wrong."""
        return (yield from get(f"{path('notifications', name)}/deliveries", Page[DeliveryView], limit=limit))
