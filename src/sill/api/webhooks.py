"""Routes of webhooks: who is told of which events, and what became of what was sent."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.stores.database import Page
from sill.webhooks.types import (
    DeliveryState,
    DeliveryView,
    Webhook,
    WebhookChange,
    WebhookSpec,
    WebhookTest,
    WebhookTested,
)

ROUTES = Routes(tag="webhooks")
_ONE = "/projects/{project}/webhooks/{webhook_id}"


class WebhooksQuery(Value, frozen=True, kw_only=True):
    """Where the page starts."""

    after: str = ""
    limit: int = 100


class DeliveriesQuery(Value, frozen=True, kw_only=True):
    """Which deliveries, and where the page starts."""

    state: DeliveryState | None = None
    after: str = ""
    limit: int = 100


@ROUTES.post("/projects/{project}/webhooks", scope="webhooks:write", body=WebhookSpec, returns=Webhook, status=201)
async def create_webhook(call: Call) -> Webhook:
    """Tell an address of events of the project from now on."""
    return await call.services.webhooks.create(call.actor, call.project, call.body, call.key)


@ROUTES.get("/projects/{project}/webhooks", scope="webhooks:read", query=WebhooksQuery, returns=Page[Webhook])
async def list_webhooks(call: Call) -> Page[Webhook]:
    """Webhooks of a project, the newest first."""
    return await call.services.webhooks.page(call.actor, call.project, after=call.query.after, limit=call.query.limit)


@ROUTES.get(_ONE, scope="webhooks:read", returns=Webhook)
async def get_webhook(call: Call) -> Webhook:
    """One webhook."""
    return await call.services.webhooks.get(call.actor, call.project, call.path["webhook_id"])


@ROUTES.route("PATCH", _ONE, scope="webhooks:write", body=WebhookChange, returns=Webhook)
async def update_webhook(call: Call) -> Webhook:
    """Change a webhook."""
    return await call.services.webhooks.update(call.actor, call.project, call.path["webhook_id"], call.body)


@ROUTES.delete(_ONE, scope="webhooks:write", returns=None)
async def delete_webhook(call: Call) -> None:
    """Forget a webhook and what is owed to it."""
    await call.services.webhooks.delete(call.actor, call.project, call.path["webhook_id"])


@ROUTES.post(f"{_ONE}/test", scope="webhooks:write", body=WebhookTest, returns=WebhookTested)
async def test_webhook(call: Call) -> WebhookTested:
    """Send an example now, once, and say what the receiver answered."""
    return await call.services.webhooks.test(call.actor, call.project, call.path["webhook_id"], call.body.event)


@ROUTES.get(f"{_ONE}/deliveries", scope="webhooks:read", query=DeliveriesQuery, returns=Page[DeliveryView])
async def list_deliveries(call: Call) -> Page[DeliveryView]:
    """What was sent to a webhook, waits, or was given up."""
    query: DeliveriesQuery = call.query
    return await call.services.webhooks.owed(
        call.actor,
        call.project,
        call.path["webhook_id"],
        state=query.state,
        after=query.after,
        limit=query.limit,
    )


@ROUTES.post(f"{_ONE}/deliveries/{{delivery_id}}/send-again", scope="webhooks:write", returns=DeliveryView)
async def send_delivery_again(call: Call) -> DeliveryView:
    """Try a delivery that was given up once more."""
    return await call.services.webhooks.send_again(
        call.actor, call.project, call.path["webhook_id"], call.path["delivery_id"]
    )
