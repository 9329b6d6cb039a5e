"""Webhooks and what is owed to them, as the API, the SDK and the store know them."""

from enum import StrEnum

from sill.core.values import Value


class WebhookStatus(StrEnum):
    """A disabled webhook is kept and told nothing."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Webhook(Value, frozen=True, kw_only=True):
    """An address that is told of events of a project, such as `model_version.created` or `run.failed`."""

    id: str
    project: str
    name: str
    url: str
    events: tuple[str, ...]
    note: str = ""
    status: WebhookStatus = WebhookStatus.ACTIVE
    has_secret: bool = False
    """Whether deliveries are signed; the secret itself is never shown."""
    created_us: int = 0
    changed_us: int = 0
    revision: int = 0


class WebhookSpec(Value, frozen=True, kw_only=True):
    """A webhook to make. With a secret, every delivery is signed with it."""

    name: str
    url: str
    events: tuple[str, ...]
    note: str = ""
    secret: str = ""
    status: WebhookStatus = WebhookStatus.ACTIVE


class WebhookChange(Value, frozen=True, kw_only=True):
    """What changes of a webhook; what is None stays."""

    name: str | None = None
    url: str | None = None
    events: tuple[str, ...] | None = None
    note: str | None = None
    secret: str | None = None
    status: WebhookStatus | None = None


class WebhookTest(Value, frozen=True, kw_only=True):
    """Which event to send an example of; empty for the first the webhook is told of."""

    event: str = ""


class WebhookTested(Value, frozen=True, kw_only=True):
    """What became of an example: the receiver's answer, or why there was none."""

    success: bool
    status: int = 0
    body: str = ""
    error: str = ""


class DeliveryState(StrEnum):
    """Waiting deliveries are tried again; a dead one was given up, and stays to be looked at or sent again."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


class Delivery(Value, frozen=True, kw_only=True):
    """A call that is owed to an address. Tried with growing pauses until it is heard, or given up.

    Attributes:
        kind: who owes it: `webhook` or `incident`.
        owner: what the address belongs to: the webhook's id, or the monitor's name.
        subject: what it is about: the event's name, or the incident's id.
        reason: why the last attempt failed.
    """

    project: str
    id: str
    kind: str
    owner: str
    subject: str
    body: str
    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    next_us: int = 0
    created_us: int = 0
    reason: str = ""
    revision: int = 0


class DeliveryView(Value, frozen=True, kw_only=True):
    """A delivery without its body."""

    id: str
    webhook_id: str
    event: str
    state: DeliveryState
    attempts: int
    created_us: int
    next_us: int
    reason: str = ""
