"""Messages of webhooks. MLflow's events are an entity and an action, in capitals; events only we have are not shown."""

from sill.protocols.mlflow.errors import invalid
from sill.protocols.mlflow.wire import Int64, Wire
from sill.webhooks.rules import MLFLOW_EVENTS
from sill.webhooks.types import Webhook, WebhookStatus, WebhookTested


class Event(Wire, frozen=True, kw_only=True):
    """What a webhook is told of, such as MODEL_VERSION and CREATED."""

    entity: str | None = None
    action: str | None = None


class Hook(Wire, frozen=True, kw_only=True):
    """A webhook."""

    webhook_id: str
    name: str
    url: str
    events: tuple[Event, ...]
    status: str
    creation_timestamp: Int64
    last_updated_timestamp: Int64
    description: str | None = None


class HookAnswer(Wire, frozen=True, kw_only=True):
    """Answer about one webhook."""

    webhook: Hook


class Hooks(Wire, frozen=True, kw_only=True):
    """Answer of a list."""

    webhooks: tuple[Hook, ...] = ()
    next_page_token: str | None = None


class HookRequest(Wire, frozen=True, kw_only=True):
    """Request of create and update."""

    name: str | None = None
    url: str | None = None
    events: tuple[Event, ...] | None = None
    description: str | None = None
    secret: str | None = None
    status: str | None = None


class ListHooks(Wire, frozen=True, kw_only=True):
    """Request of a list."""

    max_results: Int64 | None = None
    page_token: str | None = None


class TestHook(Wire, frozen=True, kw_only=True):
    """Request of a test; without an event the first the webhook is told of."""

    __test__ = False  # not a test case, whatever its name

    event: Event | None = None


class HookTested(Wire, frozen=True, kw_only=True):
    """What became of a test."""

    success: bool | None = None
    response_status: int | None = None
    response_body: str | None = None
    error_message: str | None = None


class TestAnswer(Wire, frozen=True, kw_only=True):
    """Answer of a test."""

    __test__ = False

    result: HookTested


def shown_hook(webhook: Webhook) -> Hook:
    """A webhook as MLflow's clients read it."""
    return Hook(
        webhook_id=webhook.id,
        name=webhook.name,
        url=webhook.url,
        events=tuple(_shown(event) for event in webhook.events if event in MLFLOW_EVENTS),
        status=webhook.status.value.upper(),
        creation_timestamp=webhook.created_us // 1_000,
        last_updated_timestamp=webhook.changed_us // 1_000,
        description=webhook.note or None,
    )


def shown_test(tested: WebhookTested) -> TestAnswer:
    """The outcome of a test as MLflow's clients read it."""
    result = HookTested(
        success=tested.success,
        response_status=tested.status or None,
        response_body=tested.body or None,
        error_message=tested.error or None,
    )
    return TestAnswer(result=result)


def is_shown(webhook: Webhook) -> bool:
    """Whether MLflow's clients can read the webhook: it is told of an event they know."""
    return any(event in MLFLOW_EVENTS for event in webhook.events)


def event_name(event: Event) -> str:
    """Our name of an event.

    Raises:
        InvalidValue: MLflow knows none such.
    """
    name = f"{event.entity or ''}.{event.action or ''}".lower()
    if name not in MLFLOW_EVENTS:
        raise invalid(f"Invalid action '{event.action}' for entity '{event.entity}'.")
    return name


def status_of(text: str) -> WebhookStatus:
    """The status of that name.

    Raises:
        InvalidValue: there is none.
    """
    try:
        return WebhookStatus(text.lower())
    except ValueError as wrong:
        raise invalid(f"Unknown webhook status: {text[:40]}") from wrong


def _shown(name: str) -> Event:
    entity, _, action = name.upper().partition(".")
    return Event(entity=entity, action=action)
