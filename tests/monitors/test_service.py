"""Monitors on a real registry and endpoint, with traffic from a list."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.core.errors import Conflict, Forbidden, NotFound
from sill.endpoints.service import Endpoints
from sill.endpoints.types import DeployRequest, EndpointSpec, RevisionState
from sill.monitors.service import Monitors
from sill.monitors.types import IncidentKind, MonitorSpec
from sill.monitors.workers import MonitorWorker
from sill.safety.outbound import Outbound
from sill.safety.webhooks import verify_webhook
from sill.testing.platform import Platform, against, parquet
from sill.traffic.types import RequestRow
from sill.webhooks.rules import ATTEMPTS_MAX
from sill.webhooks.service import Deliveries

PROJECT = "default"
SPEC = MonitorSpec(project=PROJECT, name="churn", endpoint="churn", window_requests=50)
REFERENCE = parquet(
    {"age": [float(age) for age in range(20, 80)] * 10, "label": ["no", "yes"] * 300, "prediction": ["no", "yes"] * 300}
)


class Traffic:
    """Rows and labels in memory, where the tests put them."""

    def __init__(self) -> None:
        self.rows: list[RequestRow] = []
        self.quality: dict[int, tuple[int, int]] = {}

    def answer(self, count: int, *, age: int = 0, revision: int = 1) -> None:
        for index in range(len(self.rows), len(self.rows) + count):
            row = RequestRow(
                request_id=f"req-{index}",
                at_us=index,
                project=PROJECT,
                endpoint="churn",
                revision=revision,
                model_version=revision,
                is_shadow=False,
                status=200,
                latency_ms=1.0,
                features={"age": float(20 + (index * 7) % 60 + age), "income": 1.0},
                prediction=("no", "yes")[index % 2],
            )
            self.rows.append(row)

    async def rows_after(self, project: str, endpoint: str, after_seq: int, limit: int) -> tuple[list[RequestRow], int]:
        found = self.rows[after_seq : after_seq + limit]
        return found, after_seq + len(found)

    async def quality_since(self, project: str, endpoint: str, number: int) -> tuple[int, int]:
        return self.quality.get(number, (0, 0))


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
async def endpoints(platform: Platform) -> Endpoints:
    made = Endpoints(platform.database, platform.log, platform.models, platform.governance, platform.clock)
    await platform.models.register(PLATFORM, PROJECT, platform.spec(files={"reference.parquet": REFERENCE}))
    await made.apply(PLATFORM, EndpointSpec(project=PROJECT, name="churn", model="churn"))
    await made.reconcile(PROJECT, "churn")
    return made


@pytest.fixture
def build(platform: Platform, endpoints: Endpoints, traffic: Traffic) -> Callable[..., Monitors]:
    def make(allow: str = "") -> Monitors:
        outbound = Outbound(allow)
        deliveries = Deliveries(platform.database, outbound, platform.clock)
        parts = (platform.database, traffic, endpoints, platform.models, outbound, platform.governance)
        return Monitors(*parts, platform.ids, deliveries)

    return make


async def watch(platform: Platform, monitors: Monitors) -> None:
    await MonitorWorker(platform.log, monitors).observe_once()


async def promote(platform: Platform, endpoints: Endpoints) -> None:
    spec = platform.spec(files={"reference.parquet": REFERENCE}, evaluation=against(1, 0.02))
    await platform.models.register(PLATFORM, PROJECT, spec)
    await endpoints.deploy(PLATFORM, PROJECT, "churn", DeployRequest(version=2))
    await endpoints.move(PLATFORM, PROJECT, "churn", 2, RevisionState.LIVE, 100, "passed")


@pytest.mark.anyio
async def test_drift_opens_one_incident_with_its_evidence(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic
) -> None:
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)
    traffic.answer(100)
    await watch(platform, monitors)
    assert (await monitors.status(PLATFORM, PROJECT, "churn")).incidents == ()
    traffic.answer(150, age=40)
    await watch(platform, monitors)

    status = await monitors.status(PLATFORM, PROJECT, "churn")
    [incident] = status.incidents
    assert (incident.kind, incident.requests_seen) == (IncidentKind.DRIFT, 150)
    assert incident.evidence["shifted"] == ["age"]
    assert status.windows == 5
    assert len(await platform.log.after(0, kinds=("incident.opened",))) == 1


@pytest.mark.anyio
async def test_an_incident_closes_when_windows_are_clean_again(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic
) -> None:
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)
    traffic.answer(50, age=40)
    traffic.answer(100)
    await watch(platform, monitors)

    page = await monitors.incidents(PLATFORM, PROJECT)
    assert [(one.is_open, one.closed_because) for one in page.items] == [(False, "over: no column shifted")]


@pytest.mark.anyio
async def test_a_new_live_version_brings_its_reference_and_closes_what_was_about_the_old(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic, endpoints: Endpoints
) -> None:
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)
    traffic.answer(50, age=40)
    await watch(platform, monitors)
    await promote(platform, endpoints)
    traffic.answer(20, age=40)  # the old revision's last rows
    traffic.answer(60, revision=2)
    await watch(platform, monitors)

    status = await monitors.status(PLATFORM, PROJECT, "churn")
    [incident] = (await monitors.incidents(PLATFORM, PROJECT)).items
    assert incident.closed_because == "version 2 replaced it"
    assert (status.model_version, status.windows, status.requests_seen) == (2, 2, 60)


@pytest.mark.anyio
async def test_a_monitor_that_is_killed_anywhere_counts_every_row_once(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic
) -> None:
    await build().declare(PLATFORM, SPEC)
    for _ in range(7):
        traffic.answer(33)
        monitors = build()  # a new process each time, nothing in memory
        await asyncio.gather(watch(platform, monitors), watch(platform, build()), return_exceptions=True)
    await watch(platform, build())

    status = await build().status(PLATFORM, PROJECT, "churn")
    windows = (await build().windows(PLATFORM, PROJECT, "churn")).items
    assert (status.requests_seen, status.windows) == (231, 4)
    assert [window.number for window in windows] == [4, 3, 2, 1]


@pytest.mark.anyio
async def test_wrong_answers_open_a_quality_incident(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic
) -> None:
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)
    traffic.quality[1] = (100, 60)  # the evaluation promised 90 %
    await watch(platform, monitors)

    [incident] = (await monitors.incidents(PLATFORM, PROJECT, is_open=True)).items
    assert incident.kind is IncidentKind.QUALITY
    assert incident.summary == "accuracy 0.600 on 100 labels, the evaluation promised 0.900"


@pytest.mark.anyio
async def test_a_version_without_a_reference_says_why_drift_is_not_watched(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic, endpoints: Endpoints
) -> None:
    await platform.models.register(PLATFORM, PROJECT, platform.spec(evaluation=against(1, 0.02)))
    await endpoints.deploy(PLATFORM, PROJECT, "churn", DeployRequest(version=2))
    await endpoints.move(PLATFORM, PROJECT, "churn", 2, RevisionState.LIVE, 100, "passed")
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)
    traffic.answer(60, revision=2)
    await watch(platform, monitors)

    status = await monitors.status(PLATFORM, PROJECT, "churn")
    assert "reference.parquet" in status.problem
    assert status.windows == 1


@pytest.mark.anyio
async def test_one_monitor_watches_an_endpoint_and_the_endpoint_exists(build: Callable[..., Monitors]) -> None:
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)

    with pytest.raises(Conflict):
        await monitors.declare(PLATFORM, MonitorSpec(project=PROJECT, name="second", endpoint="churn"))
    with pytest.raises(NotFound):
        await monitors.declare(PLATFORM, MonitorSpec(project=PROJECT, name="third", endpoint="nothing"))


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["http://127.0.0.1/hook", "http://169.254.169.254/", "http://localhost:8080/"])
async def test_webhooks_to_private_addresses_are_refused_when_declared(
    build: Callable[..., Monitors], url: str
) -> None:
    with pytest.raises(Forbidden):
        await build().declare(PLATFORM, _with_webhook(url))


@pytest.mark.anyio
async def test_deleting_a_monitor_leaves_nothing_of_it(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic
) -> None:
    monitors = build()
    await monitors.declare(PLATFORM, SPEC)
    traffic.answer(50, age=40)
    await watch(platform, monitors)
    await monitors.delete(PLATFORM, PROJECT, "churn")

    assert (await monitors.incidents(PLATFORM, PROJECT)).items == ()
    assert [event.kind for event in await platform.log.after(0, kinds=("incident.",))] == [
        "incident.opened",
        "incident.closed",
    ]


class Receiver:
    """A webhook's other end: a real server on a free port."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def receiver(anyio_backend: str) -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


async def break_down(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic, receiver: Receiver
) -> Monitors:
    monitors = build(f"127.0.0.1:{receiver.port}")
    await platform.governance.put_secret(PLATFORM, PROJECT, "hook", "a secret of enough bytes")
    await monitors.declare(PLATFORM, _with_webhook(f"http://127.0.0.1:{receiver.port}/hook"))
    traffic.answer(50, age=40)
    await watch(platform, monitors)
    return monitors


@pytest.mark.anyio
async def test_an_incident_is_sent_signed(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic, receiver: Receiver
) -> None:
    monitors = await break_down(platform, build, traffic, receiver)
    await monitors.deliveries.deliver_due()
    await monitors.deliveries.deliver_due()

    [(headers, body)] = receiver.got
    told: dict[str, Any] = json.loads(body)
    now_s = platform.clock.now_us() / 1e6
    assert (
        verify_webhook({"hook": b"a secret of enough bytes"}, headers, body, now_s)
        == f"{told['incident']['id']}-opened"
    )
    assert told["type"] == "incident.opened"
    assert (await monitors.incident(PLATFORM, PROJECT, told["incident"]["id"])).delivery == "delivered"


@pytest.mark.anyio
async def test_a_webhook_that_fails_is_tried_with_growing_pauses_and_then_given_up_on_the_incident(
    platform: Platform, build: Callable[..., Monitors], traffic: Traffic, receiver: Receiver
) -> None:
    receiver.status = 500
    monitors = await break_down(platform, build, traffic, receiver)
    assert isinstance(platform.clock, ManualClock)
    waits = []
    for _ in range(2_000):
        if await monitors.deliveries.deliver_due():
            waits.append(0)
        platform.clock.advance(1.0)
        waits[-1] += 1

    [incident] = (await monitors.incidents(PLATFORM, PROJECT)).items
    assert len(receiver.got) == ATTEMPTS_MAX
    assert waits == sorted(waits)
    assert incident.delivery == f"given up after {ATTEMPTS_MAX} attempts: the receiver answered 500"


def _with_webhook(url: str) -> MonitorSpec:
    fields: dict[str, Any] = {"window_requests": 50, "webhook": url, "webhook_secret": "hook"}
    return MonitorSpec(project=PROJECT, name="churn", endpoint="churn", **fields)
