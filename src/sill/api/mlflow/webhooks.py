"""Webhooks for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow.errors import invalid_value
from sill.protocols.mlflow.webhooks import (
    HookAnswer,
    HookRequest,
    Hooks,
    ListHooks,
    TestAnswer,
    TestHook,
    event_name,
    is_shown,
    shown_hook,
    shown_test,
    status_of,
)
from sill.webhooks.rules import MLFLOW_EVENTS
from sill.webhooks.types import WebhookChange, WebhookSpec, WebhookStatus

ROUTES = WireRoutes(tag="webhooks")

LISTED_DEFAULT, LISTED_MAX = 100, 1_000
_ONE = "/mlflow/webhooks/{webhook_id}"


@ROUTES.post("/mlflow/webhooks", scope="webhooks:write", body=HookRequest, required=("name", "url", "events"))
async def create_webhook(call: Call) -> HookAnswer:
    """Make a webhook."""
    body: HookRequest = call.body
    spec = WebhookSpec(
        name=body.name or "",
        url=body.url or "",
        events=tuple(dict.fromkeys(event_name(event) for event in body.events or ())),
        note=body.description or "",
        secret=body.secret or "",
        status=status_of(body.status) if body.status else WebhookStatus.ACTIVE,
    )
    return HookAnswer(webhook=shown_hook(await call.services.webhooks.create(call.actor, call.project, spec, call.key)))


@ROUTES.get("/mlflow/webhooks", scope="webhooks:read", body=ListHooks)
async def list_webhooks(call: Call) -> Hooks:
    """The webhooks of the project."""
    body: ListHooks = call.body
    limit = body.max_results or LISTED_DEFAULT
    if not 1 <= limit <= LISTED_MAX:
        raise invalid_value("max_results", limit, "max_results must be between 1 and 1000.")
    page = await call.services.webhooks.page(call.actor, call.project, after=body.page_token or "", limit=limit)
    shown = tuple(shown_hook(one) for one in page.items if is_shown(one))
    return Hooks(webhooks=shown, next_page_token=page.next or None)


@ROUTES.get(_ONE, scope="webhooks:read")
async def get_webhook(call: Call) -> HookAnswer:
    """One webhook."""
    found = await call.services.webhooks.get(call.actor, call.project, call.path["webhook_id"])
    return HookAnswer(webhook=shown_hook(found))


@ROUTES.patch(_ONE, scope="webhooks:write", body=HookRequest)
async def update_webhook(call: Call) -> HookAnswer:
    """Change a webhook. Events of ours that it is told of stay: these clients cannot name them."""
    body: HookRequest = call.body
    webhooks, webhook_id = call.services.webhooks, call.path["webhook_id"]
    events = None
    if body.events:
        known = await webhooks.get(call.actor, call.project, webhook_id)
        ours = [event for event in known.events if event not in MLFLOW_EVENTS]
        events = tuple(dict.fromkeys([*(event_name(event) for event in body.events), *ours]))
    change = WebhookChange(
        name=body.name or None,
        url=body.url or None,
        events=events,
        note=body.description or None,
        secret=body.secret or None,
        status=status_of(body.status) if body.status else None,
    )
    return HookAnswer(webhook=shown_hook(await webhooks.update(call.actor, call.project, webhook_id, change)))


@ROUTES.delete(_ONE, scope="webhooks:write")
async def delete_webhook(call: Call) -> None:
    """Forget a webhook."""
    await call.services.webhooks.delete(call.actor, call.project, call.path["webhook_id"])


@ROUTES.post(f"{_ONE}/test", scope="webhooks:write", body=TestHook)
async def test_webhook(call: Call) -> TestAnswer:
    """Send an example and say what became of it."""
    body: TestHook = call.body
    event = event_name(body.event) if body.event is not None else ""
    return shown_test(await call.services.webhooks.test(call.actor, call.project, call.path["webhook_id"], event))
