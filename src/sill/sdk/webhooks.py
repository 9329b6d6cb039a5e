"""Webhooks, from Python."""

from sill.sdk.client import Client
from sill.sdk.pages import Page
from sill.webhooks.types import (
    DeliveryState,
    DeliveryView,
    Webhook,
    WebhookChange,
    WebhookSpec,
    WebhookTest,
    WebhookTested,
)


class Webhooks:
    """Calls about webhooks."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, after: str = "", limit: int = 100) -> Page[Webhook]:
        """Webhooks of the project, the newest first."""
        query = {"after": after, "limit": limit}
        return self._client.call("GET", "/projects/{project}/webhooks", Page[Webhook], query=query)

    def create(self, spec: WebhookSpec, *, key: str = "") -> Webhook:
        """Tell an address of events of the project from now on."""
        return self._client.call("POST", "/projects/{project}/webhooks", Webhook, body=spec, key=key)

    def get(self, webhook_id: str) -> Webhook:
        """One webhook."""
        return self._client.call("GET", _path(webhook_id), Webhook)

    def update(self, webhook_id: str, change: WebhookChange) -> Webhook:
        """Change a webhook; what is None stays."""
        return self._client.call("PATCH", _path(webhook_id), Webhook, body=change)

    def delete(self, webhook_id: str) -> None:
        """Forget a webhook and what is owed to it."""
        self._client.call("DELETE", _path(webhook_id), None)

    def test(self, webhook_id: str, event: str = "") -> WebhookTested:
        """Send an example now, once, and see what the receiver answers."""
        return self._client.call("POST", f"{_path(webhook_id)}/test", WebhookTested, body=WebhookTest(event=event))

    def deliveries(
        self, webhook_id: str, *, state: DeliveryState | None = None, after: str = "", limit: int = 100
    ) -> Page[DeliveryView]:
        """What was sent to a webhook, waits, or was given up, the newest first."""
        query = {"after": after, "limit": limit} | ({"state": state.value} if state else {})
        return self._client.call("GET", f"{_path(webhook_id)}/deliveries", Page[DeliveryView], query=query)

    def send_again(self, webhook_id: str, delivery_id: str) -> DeliveryView:
        """Try a delivery that was given up once more."""
        return self._client.call("POST", f"{_path(webhook_id)}/deliveries/{delivery_id}/send-again", DeliveryView)


def _path(webhook_id: str) -> str:
    return f"/projects/{{project}}/webhooks/{webhook_id}"
