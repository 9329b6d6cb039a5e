"""Incidents: opened once, closed when over, and each change told to a webhook, signed, until it is heard or given up."""

import asyncio
from typing import Protocol

import msgspec
from msgspec.structs import replace

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Ids
from sill.monitors.rules import Verdict
from sill.monitors.store import INCIDENTS, MONITORS, open_incident
from sill.monitors.types import Incident, IncidentKind, MonitorSpec
from sill.safety.outbound import Outbound
from sill.safety.webhooks import sign_webhook
from sill.stores.database import Database, Tx
from sill.webhooks.service import Call, owe
from sill.webhooks.types import Delivery, DeliveryState

KIND = "incident"
"""What deliveries about incidents are called."""
WAITING, DELIVERED = "waiting", "delivered"


class Secrets(Protocol):
    """Where a webhook's secret comes from."""

    async def secret(self, actor: Actor, project: str, name: str) -> str:
        """The secret's value; for the platform only."""
        ...


def open_once(tx: Tx, ids: Ids, spec: MonitorSpec, verdict: Verdict, requests_seen: int) -> Incident | None:
    """A new incident, unless one of its kind is open at the endpoint already."""
    if open_incident(tx.connection, spec.project, spec.endpoint, verdict.kind) is not None:
        return None
    incident = INCIDENTS.create(
        tx,
        Incident(
            id=ids.new("inc"),
            project=spec.project,
            endpoint=spec.endpoint,
            kind=verdict.kind,
            is_open=True,
            summary=verdict.summary,
            evidence=dict(verdict.evidence),
            opened_us=tx.now_us,
            requests_seen=requests_seen,
            delivery=WAITING if spec.webhook else "",
        ),
    )
    _tell(tx, "incident.opened", incident)
    if spec.webhook:
        _owe(tx, spec, incident, "opened")
    return incident


def close_all(tx: Tx, project: str, endpoint: str, kinds: tuple[IncidentKind, ...], why: str) -> None:
    """Close the open incidents of these kinds at an endpoint, if any."""
    watching = MONITORS.every(tx.connection, project, endpoint=endpoint)
    for kind in kinds:
        found = open_incident(tx.connection, project, endpoint, kind)
        if found is None:
            continue
        spec = next((one for one in watching if one.webhook), None)
        closed = replace(
            found,
            is_open=False,
            open_flag=0,
            closed_us=tx.now_us,
            closed_because=why,
            delivery=WAITING if spec else found.delivery,
        )
        incident = INCIDENTS.replace(tx, closed)
        _tell(tx, "incident.closed", incident)
        if spec is not None:
            _owe(tx, spec, incident, "closed")


async def check_webhook(outbound: Outbound, url: str) -> None:
    """Refuses a webhook that may not be called, as far as it can be known now; each call checks again.

    Raises:
        InvalidValue: malformed.
        Forbidden: a private address, or a port that is not listed.
    """
    await asyncio.to_thread(outbound.check, url)


class IncidentSender:
    """Says where deliveries about incidents go, and keeps on the incident what became of them."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database = database
        self._secrets = secrets

    async def call(self, delivery: Delivery, timestamp: int) -> Call:
        """The monitor's webhook, signed with the secret it names."""
        spec = await self._database.read(lambda connection: MONITORS.get(connection, delivery.project, delivery.owner))
        secret = await self._secrets.secret(PLATFORM, delivery.project, spec.webhook_secret)
        headers = sign_webhook(secret.encode(), spec.webhook_secret, timestamp, delivery.id, delivery.body.encode())
        return Call(spec.webhook, headers | {"content-type": "application/json"})

    def settled(self, tx: Tx, delivery: Delivery) -> None:
        """Say on the incident that it was heard, or that nothing more will be tried."""
        incident = INCIDENTS.find(tx.connection, delivery.project, delivery.subject)
        if incident is not None:
            failed = f"given up after {delivery.attempts} attempts: {delivery.reason}"
            outcome = DELIVERED if delivery.state is DeliveryState.DELIVERED else failed
            INCIDENTS.replace(tx, replace(incident, delivery=outcome))


def _owe(tx: Tx, spec: MonitorSpec, incident: Incident, what: str) -> None:
    told = {"type": f"incident.{what}", "incident": incident}
    delivery = Delivery(
        project=spec.project,
        id=f"{incident.id}-{what}",
        kind=KIND,
        owner=spec.name,
        subject=incident.id,
        body=msgspec.json.encode(told).decode(),
    )
    owe(tx, delivery)


def _tell(tx: Tx, kind: str, incident: Incident) -> None:
    tx.emit(
        kind,
        incident.project,
        incident.id,
        PLATFORM.id,
        endpoint=incident.endpoint,
        kind=incident.kind.value,
        summary=incident.summary,
    )
