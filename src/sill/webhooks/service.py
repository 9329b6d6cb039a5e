"""Webhooks: made, changed, tried, told of events from the log, and what is owed to them looked at and sent again."""

import asyncio

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.clock import Clock, Ids
from sill.core.errors import Conflict, InvalidValue, NotFound, SillError
from sill.core.events import Event
from sill.core.names import shorten
from sill.governance.rules import require
from sill.safety.outbound import Outbound
from sill.safety.secrets import SecretBox
from sill.stores.database import Connection, Database, Page, Tx
from sill.webhooks import payloads, rules
from sill.webhooks.delivering import LIMITS, Call, Deliveries, owe
from sill.webhooks.store import DELIVERIES, SECRETS, WEBHOOKS, WebhookSecret, forget_owner
from sill.webhooks.types import (
    Delivery,
    DeliveryState,
    DeliveryView,
    Webhook,
    WebhookChange,
    WebhookSpec,
    WebhookStatus,
    WebhookTested,
)

__all__ = ["Call", "Deliveries", "Webhooks", "forget_owner", "owe"]

KIND = "webhook"
WEBHOOKS_MAX = 100
"""Webhooks of one project."""
ANSWER_SHOWN_MAX = 4_096


class Webhooks:
    """Webhooks of all projects."""

    def __init__(
        self,
        database: Database,
        models: payloads.Models,
        outbound: Outbound,
        box: SecretBox,
        clock: Clock,
        ids: Ids,
        deliveries: Deliveries,
    ) -> None:
        self._database = database
        self._models = models
        self._outbound = outbound
        self._box = box
        self._clock = clock
        self._ids = ids
        self.deliveries = deliveries
        deliveries.on_kind(KIND, self)

    async def create(self, actor: Actor, project: str, spec: WebhookSpec, key: str = "") -> Webhook:
        """A new webhook.

        Raises:
            InvalidValue: it is not one that may be.
            Forbidden: its address may not be called.
        """
        require(actor, "webhooks:write", project)
        rules.check_spec(spec)
        await self._check_url(spec.url)
        webhook_id = self._ids.new("wh")
        sealed = self._seal(project, webhook_id, spec.secret)

        def keep(tx: Tx) -> Webhook:
            if WEBHOOKS.count(tx.connection, project) >= WEBHOOKS_MAX:
                raise InvalidValue(f"project {project!r} has {WEBHOOKS_MAX} webhooks.", fix="Delete one.")
            made = Webhook(
                id=webhook_id,
                project=project,
                name=spec.name,
                url=spec.url,
                events=spec.events,
                note=spec.note,
                status=spec.status,
                has_secret=bool(spec.secret),
                created_us=tx.now_us,
                changed_us=tx.now_us,
            )
            _keep_secret(tx, made, sealed)
            tx.emit("webhook.created", project, webhook_id, actor.id, name=spec.name, events=list(spec.events))
            return WEBHOOKS.create(tx, made)

        request = [project, spec]
        return await self._database.write_once(key, request, Webhook, keep)

    async def get(self, actor: Actor, project: str, webhook_id: str) -> Webhook:
        """One webhook."""
        require(actor, "webhooks:read", project)
        return await self._database.read(lambda connection: _find(connection, project, webhook_id))

    async def page(self, actor: Actor, project: str, *, after: str = "", limit: int = 100) -> Page[Webhook]:
        """The webhooks of a project, the newest first."""
        require(actor, "webhooks:read", project)
        return await self._database.read(
            lambda connection: WEBHOOKS.page(connection, project, after=after, limit=limit, descending=True)
        )

    async def update(self, actor: Actor, project: str, webhook_id: str, change: WebhookChange) -> Webhook:
        """Change a webhook. Errors as `create`."""
        require(actor, "webhooks:write", project)
        if change.url is not None:
            rules.check_url(change.url)
            await self._check_url(change.url)
        sealed = self._seal(project, webhook_id, change.secret or "")

        def work(tx: Tx) -> Webhook:
            found = _find(tx.connection, project, webhook_id)
            fields = {name: getattr(change, name) for name in ("name", "url", "events", "note", "status")}
            changed = replace(found, **{name: value for name, value in fields.items() if value is not None})
            rules.check_spec(_as_spec(changed, change.secret))
            if change.secret is not None:
                changed = replace(changed, has_secret=bool(change.secret))
                _keep_secret(tx, changed, sealed)
            tx.emit("webhook.updated", project, webhook_id, actor.id, name=changed.name, events=[*changed.events])
            return WEBHOOKS.replace(tx, replace(changed, changed_us=max(tx.now_us, found.changed_us + 1_000)))

        return await self._database.write(work)

    async def delete(self, actor: Actor, project: str, webhook_id: str) -> None:
        """Forget a webhook, its secret, and what is owed to it."""
        require(actor, "webhooks:write", project)

        def remove(tx: Tx) -> None:
            found = _find(tx.connection, project, webhook_id)
            WEBHOOKS.delete(tx, project, webhook_id)
            if found.has_secret:
                SECRETS.delete(tx, project, webhook_id)
            forget_owner(tx, project, KIND, webhook_id)
            tx.emit("webhook.deleted", project, webhook_id, actor.id, name=found.name)

        await self._database.write(remove)

    async def test(self, actor: Actor, project: str, webhook_id: str, event: str = "") -> WebhookTested:
        """Send an example now, once, and say what the receiver answered."""
        require(actor, "webhooks:write", project)
        found = await self.get(actor, project, webhook_id)
        name = event or found.events[0]
        rules.check_events((name,))
        now_us = self._clock.now_us()
        told = Event(kind=name, project=project, subject="", actor=actor.id, at_us=now_us)
        body = payloads.body_of(told, name, payloads.example_of(name)).encode()
        secret = await self._secret(found)
        headers = rules.headers(secret, now_us // 1_000_000, self._ids.new("wd"), body)
        try:
            answer = await self._outbound.fetch("POST", found.url, headers=headers, body=body, limits=LIMITS)
        except SillError as wrong:
            return WebhookTested(success=False, error=f"Failed to test webhook: {wrong}")
        text = answer.body.decode("utf-8", "replace")[:ANSWER_SHOWN_MAX]
        return WebhookTested(success=answer.status < 400, status=answer.status, body=text)

    async def owed(
        self,
        actor: Actor,
        project: str,
        webhook_id: str,
        *,
        state: DeliveryState | None = None,
        after: str = "",
        limit: int = 100,
    ) -> Page[DeliveryView]:
        """What was sent to a webhook, waits, or was given up, the newest first."""
        require(actor, "webhooks:read", project)
        where = {"owner": webhook_id, "kind": KIND} | ({"state": state} if state else {})

        def page(connection: Connection) -> Page[DeliveryView]:
            _find(connection, project, webhook_id)
            found = DELIVERIES.page(connection, project, after=after, limit=limit, descending=True, **where)
            return Page(items=tuple(_view(one) for one in found.items), next=found.next)

        return await self._database.read(page)

    async def send_again(self, actor: Actor, project: str, webhook_id: str, delivery_id: str) -> DeliveryView:
        """Try a delivery that was given up once more, from the start.

        Raises:
            Conflict: it was delivered, or still waits.
        """
        require(actor, "webhooks:write", project)

        def work(tx: Tx) -> DeliveryView:
            found = DELIVERIES.find(tx.connection, project, delivery_id)
            if found is None or (found.kind, found.owner) != (KIND, webhook_id):
                raise NotFound(
                    f"no delivery {shorten(delivery_id)!r} of webhook {shorten(webhook_id)!r}.", fix="List them."
                )
            if found.state is not DeliveryState.DEAD:
                raise Conflict(
                    f"delivery {delivery_id} is {found.state}.", fix="Only one that was given up is sent again."
                )
            again = replace(found, state=DeliveryState.WAITING, attempts=0, next_us=tx.now_us, reason="")
            tx.emit("webhook.sent_again", project, webhook_id, actor.id, delivery=delivery_id)
            return _view(DELIVERIES.replace(tx, again))

        return await self._database.write(work)

    async def tell(self, event: Event) -> None:
        """Owe an event of the log to every webhook that wants it. Doing it twice owes it once."""
        names = payloads.names_of(event)
        if not names or not event.project:
            return
        wanted = await self._database.read(lambda connection: self._wanted(connection, event, names))
        if wanted:
            await self._database.write(lambda tx: _owe_all(tx, wanted))

    async def call(self, delivery: Delivery, timestamp: int) -> Call:
        """Where a delivery of ours goes now, signed."""
        found = await self._database.read(lambda connection: _find(connection, delivery.project, delivery.owner))
        secret = await self._secret(found)
        return Call(found.url, rules.headers(secret, timestamp, delivery.id, delivery.body.encode()))

    def settled(self, tx: Tx, delivery: Delivery) -> None:
        """A delivery that was given up is told in the log too."""
        if delivery.state is DeliveryState.DEAD:
            facts = {"delivery": delivery.id, "event": delivery.subject, "reason": delivery.reason}
            tx.emit("webhook.gave_up", delivery.project, delivery.owner, "sill", **facts)

    def _wanted(self, connection: Connection, event: Event, names: tuple[str, ...]) -> list[Delivery]:
        found = []
        for webhook in WEBHOOKS.every(connection, event.project, status=WebhookStatus.ACTIVE):
            for name in names:
                if name in webhook.events and event.at_us >= webhook.created_us:
                    data = payloads.data_of(connection, self._models, event, name)
                    found.append(
                        Delivery(
                            project=event.project,
                            id=f"{event.seq:015d}-{name.partition('.')[2]}-{webhook.id}",
                            kind=KIND,
                            owner=webhook.id,
                            subject=name,
                            body=payloads.body_of(event, name, data),
                        )
                    )
        return found

    async def _check_url(self, url: str) -> None:
        try:
            await asyncio.to_thread(self._outbound.check, url)
        except InvalidValue as wrong:
            raise InvalidValue(f"Invalid webhook URL {shorten(url)!r}: {wrong}", field="url") from wrong

    def _seal(self, project: str, webhook_id: str, secret: str) -> bytes:
        return self._box.seal(secret.encode(), _context(project, webhook_id)) if secret else b""

    async def _secret(self, webhook: Webhook) -> bytes:
        if not webhook.has_secret:
            return b""
        kept = await self._database.read(lambda connection: SECRETS.get(connection, webhook.project, webhook.id))
        return self._box.unseal(kept.sealed, _context(webhook.project, webhook.id))


def _find(connection: Connection, project: str, webhook_id: str) -> Webhook:
    found = WEBHOOKS.find(connection, project, webhook_id)
    if found is None:
        raise NotFound(f"Webhook with ID {shorten(webhook_id)} not found.", fix="List the webhooks of the project.")
    return found


def _owe_all(tx: Tx, deliveries: list[Delivery]) -> None:
    for delivery in deliveries:
        owe(tx, delivery)


def _context(project: str, webhook_id: str) -> str:
    return f"{project}/webhook/{webhook_id}"


def _keep_secret(tx: Tx, webhook: Webhook, sealed: bytes) -> None:
    if sealed:
        SECRETS.put(tx, WebhookSecret(project=webhook.project, id=webhook.id, sealed=sealed))
    elif SECRETS.find(tx.connection, webhook.project, webhook.id) is not None:
        SECRETS.delete(tx, webhook.project, webhook.id)


def _as_spec(webhook: Webhook, secret: str | None) -> WebhookSpec:
    return WebhookSpec(
        name=webhook.name, url=webhook.url, events=webhook.events, note=webhook.note, secret=secret or ""
    )


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        webhook_id=delivery.owner,
        event=delivery.subject,
        state=delivery.state,
        attempts=delivery.attempts,
        created_us=delivery.created_us,
        next_us=delivery.next_us if delivery.state is DeliveryState.WAITING else 0,
        reason=delivery.reason,
    )
