"""Webhooks, their sealed secrets, and what is owed, in the database."""

import msgspec
from sqlalchemy import Connection, Index, delete, select

from sill.core.values import Value
from sill.stores.database import Documents, Tx
from sill.webhooks.types import Delivery, DeliveryState, Webhook

DUE_MAX = 100
KEPT_US = 7 * 24 * 3_600 * 1_000_000
"""How long a delivery that is over can be looked at."""


class WebhookSecret(Value, frozen=True, kw_only=True):
    """A webhook's secret, sealed."""

    project: str
    id: str
    sealed: bytes
    revision: int = 0


WEBHOOKS: Documents[Webhook] = Documents("webhooks", Webhook, key="id", columns=("status",))
SECRETS: Documents[WebhookSecret] = Documents("webhook_secrets", WebhookSecret, key="id", noun="webhook secret")
DELIVERIES: Documents[Delivery] = Documents(
    "webhook_deliveries", Delivery, key="id", columns=("owner",), plain=("kind", "state", "next_us"), noun="delivery"
)
_DUE = Index("webhook_deliveries_due", DELIVERIES.table.c.state, DELIVERIES.table.c.next_us)


def due(connection: Connection, now_us: int) -> list[Delivery]:
    """What is owed now, the longest owed first."""
    t = DELIVERIES.table
    waiting = (t.c.state == DeliveryState.WAITING.value, t.c.next_us <= now_us)
    rows = connection.execute(select(t.c.doc).where(*waiting).order_by(t.c.next_us).limit(DUE_MAX))
    return [msgspec.json.decode(row.doc, type=Delivery) for row in rows]


def forget_owner(tx: Tx, project: str, kind: str, owner: str) -> None:
    """Remove all that is owed to an address that is no more."""
    t = DELIVERIES.table
    tx.execute(delete(t).where(t.c.project == project, t.c.kind == kind, t.c.owner == owner))


def forget_old(tx: Tx) -> None:
    """Remove what was delivered or given up long ago."""
    t = DELIVERIES.table
    over = t.c.state != DeliveryState.WAITING.value
    tx.execute(delete(t).where(over, t.c.updated_us < tx.now_us - KEPT_US))
