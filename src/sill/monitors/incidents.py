"""Incidents: opened once, closed when over, and each change told to a webhook, signed, until it is heard or given up."""

import asyncio
import logging
import zlib
from typing import Protocol

import msgspec
from msgspec.structs import replace

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Clock, Ids
from sill.core.errors import Forbidden, InvalidValue, NotFound, SillError
from sill.monitors.rules import Verdict
from sill.monitors.store import DELIVERIES, INCIDENTS, MONITORS, due_deliveries, open_incident
from sill.monitors.types import Delivery, Incident, IncidentKind, MonitorSpec
from sill.safety.outbound import Outbound
from sill.safety.webhooks import sign_webhook
from sill.stores.database import Database, Tx

logger = logging.getLogger("sill.monitors")

ATTEMPTS_MAX = 8
PAUSE_S = 2.0
"""Pause after the first failed attempt; it doubles each time, up to half longer by chance."""
REASON_LENGTH_MAX = 300
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


class Deliveries:
    """Sends what is owed. Each attempt is signed anew; the delivery's id stays, so that the receiver can drop repeats."""

    def __init__(self, database: Database, outbound: Outbound, secrets: Secrets, clock: Clock) -> None:
        self._database = database
        self._outbound = outbound
        self._secrets = secrets
        self._clock = clock

    async def deliver_due(self) -> int:
        """Try everything that is due, once; returns how many were tried."""
        now_us = self._clock.now_us()
        due = await self._database.read(lambda connection: due_deliveries(connection, now_us))
        for delivery in due:
            await self._deliver(delivery)
        return len(due)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            failure, is_final = await self._attempt(delivery), False
        except (NotFound, Forbidden, InvalidValue) as wrong:
            failure, is_final = str(wrong), True
        except SillError as wrong:
            failure, is_final = str(wrong), False
        failure = failure[:REASON_LENGTH_MAX]
        await self._database.write(lambda tx: _settle(tx, delivery, failure, is_final))

    async def _attempt(self, delivery: Delivery) -> str:
        """Send once; an empty text when the receiver took it, else why it did not."""
        spec = await self._database.read(
            lambda connection: MONITORS.get(connection, delivery.project, delivery.monitor)
        )
        secret = await self._secrets.secret(PLATFORM, delivery.project, spec.webhook_secret)
        body = delivery.body.encode()
        timestamp = self._clock.now_us() // 1_000_000
        headers = sign_webhook(secret.encode(), spec.webhook_secret, timestamp, delivery.id, body)
        headers["content-type"] = "application/json"
        answer = await self._outbound.fetch("POST", spec.webhook, headers=headers, body=body)
        return "" if 200 <= answer.status < 300 else f"the receiver answered {answer.status}"


def _settle(tx: Tx, delivery: Delivery, failure: str, is_final: bool) -> None:
    """Keep what became of an attempt, and say so on the incident once nothing more will be tried."""
    attempts = delivery.attempts + 1
    is_over = not failure or is_final or attempts >= ATTEMPTS_MAX
    DELIVERIES.put(
        tx,
        replace(
            delivery,
            attempts=attempts,
            reason=failure,
            open_flag=int(not is_over),
            next_us=tx.now_us + _pause_us(delivery.id, attempts),
        ),
    )
    incident = INCIDENTS.find(tx.connection, delivery.project, delivery.incident_id)
    if is_over and incident is not None:
        outcome = f"given up after {attempts} attempts: {failure}" if failure else DELIVERED
        INCIDENTS.replace(tx, replace(incident, delivery=outcome))
        if failure:
            logger.warning("webhook of incident %s %s", incident.id, outcome)


def _pause_us(delivery_id: str, attempts: int) -> int:
    """Microseconds until the next attempt; the part by chance comes from the id, so that a repeat waits the same."""
    chance = zlib.crc32(f"{delivery_id}/{attempts}".encode()) / 2**32
    return int(PAUSE_S * 2.0 ** (attempts - 1) * (1 + chance / 2) * 1e6)


def _owe(tx: Tx, spec: MonitorSpec, incident: Incident, what: str) -> None:
    told = {"type": f"incident.{what}", "incident": incident}
    DELIVERIES.put(
        tx,
        Delivery(
            project=spec.project,
            id=f"{incident.id}-{what}",
            incident_id=incident.id,
            monitor=spec.name,
            endpoint=spec.endpoint,
            body=msgspec.json.encode(told).decode(),
            next_us=tx.now_us,
        ),
    )


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
