"""Who wants an event is told of it once, signed, tried again with growing pauses, and seen when nobody listens."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound
from sill.core.events import Event
from sill.models.registry import Registry
from sill.models.types import PROMPT_TAG
from sill.stores.database import Tx
from sill.testing.platform import Platform
from sill.webhooks.payloads import KINDS, example_of, names_of
from sill.webhooks.rules import ATTEMPTS_MAX, EVENTS, pause_us
from sill.webhooks.service import Webhooks
from sill.webhooks.types import DeliveryState, Webhook, WebhookChange, WebhookSpec, WebhookStatus

pytestmark = pytest.mark.anyio
PROJECT = "default"
PUBLIC = "https://example.com/hook"


async def hook(webhooks: Webhooks, *events: str, url: str = PUBLIC, **fields: Any) -> Webhook:
    spec = WebhookSpec(name="h", url=url, events=events or ("run.finished",), **fields)
    return await webhooks.create(PLATFORM, PROJECT, spec)


async def happen(platform: Platform, webhooks: Webhooks, event: str, /, **data: Any) -> None:
    """An event, and the worker's look at the log."""

    def leave(tx: Tx) -> None:
        tx.emit(event, PROJECT, "run-1", "ada", **data)

    await platform.database.write(leave)
    await catch_up(platform, webhooks)


async def catch_up(platform: Platform, webhooks: Webhooks) -> None:
    for event in await platform.log.after(0, kinds=KINDS, limit=1_000):
        await webhooks.tell(event)
    await webhooks.deliveries.deliver_due()


async def states(webhooks: Webhooks, made: Webhook) -> list[tuple[str, str, int]]:
    page = await webhooks.owed(PLATFORM, PROJECT, made.id)
    return [(one.event, one.state.value, one.attempts) for one in page.items]


async def test_a_run_that_ends_is_told_once_and_signed_as_mlflow_does(
    platform: Platform, webhooks: Webhooks, receiver: Any
) -> None:
    made = await hook(webhooks, "run.finished", url=receiver.url, secret="s3cret")
    await happen(platform, webhooks, "run.finished", kind="command", name="train")
    await catch_up(platform, webhooks)

    [(headers, body)] = receiver.got
    signed = f"{headers['x-mlflow-delivery-id']}.{headers['x-mlflow-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    told = json.loads(body)
    assert headers["x-mlflow-signature"] == f"v1,{expected}"
    assert (told["entity"], told["action"], told["data"]["run_id"]) == ("run", "finished", "run-1")
    assert await states(webhooks, made) == [("run.finished", "delivered", 1)]


async def test_only_what_was_asked_for_of_this_project_and_since_it_was_made_is_told(
    platform: Platform, webhooks: Webhooks, receiver: Any
) -> None:
    await happen(platform, webhooks, "run.failed")
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(1)
    await hook(webhooks, "run.failed", url=receiver.url)
    await hook(webhooks, "run.failed", url=receiver.url, status=WebhookStatus.DISABLED)
    await happen(platform, webhooks, "run.finished")
    await webhooks.tell(Event(kind="run.failed", project="other", subject="x", actor="a", seq=9, at_us=2**60))
    await webhooks.deliveries.deliver_due()

    assert receiver.got == []


async def test_a_model_is_told_as_mlflow_tells_it_and_a_prompt_without_its_marks(
    platform: Platform, webhooks: Webhooks, receiver: Any
) -> None:
    await hook(webhooks, "registered_model.created", "prompt.created", url=receiver.url)
    registry = Registry(platform.database, platform.models)
    await registry.create(PLATFORM, PROJECT, "M", tags={"a": "b"}, note="n" * 3_000)
    await registry.create(PLATFORM, PROJECT, "P", tags={PROMPT_TAG: "true", "a": "b"}, note="short")
    await catch_up(platform, webhooks)

    told = sorted((json.loads(body)["entity"], json.loads(body)["data"]) for _, body in receiver.got)
    assert told == [
        ("prompt", {"name": "P", "tags": {"a": "b"}, "description": "short"}),
        ("registered_model", {"name": "M", "tags": {"a": "b"}, "description": "n" * 3_000}),
    ]


async def test_a_version_through_its_gate_is_told_with_where_its_files_are(
    platform: Platform, webhooks: Webhooks, receiver: Any
) -> None:
    await hook(webhooks, "model_version.created", "model_version.accepted", url=receiver.url)
    await platform.models.register(PLATFORM, PROJECT, platform.spec())
    await catch_up(platform, webhooks)

    told = {json.loads(body)["action"]: json.loads(body)["data"] for _, body in receiver.got}
    assert told["created"]["source"] == "mlflow-artifacts:/models/churn/1"
    assert (told["accepted"]["name"], told["accepted"]["version"]) == ("churn", "1")


async def test_a_deaf_receiver_is_tried_with_growing_pauses_then_is_a_dead_letter_that_can_be_sent_again(
    platform: Platform, webhooks: Webhooks, receiver: Any
) -> None:
    made = await hook(webhooks, url=receiver.url)
    receiver.status = 500
    assert isinstance(platform.clock, ManualClock)
    await happen(platform, webhooks, "run.finished")
    for _ in range(ATTEMPTS_MAX):
        platform.clock.advance(1_000)
        await webhooks.deliveries.deliver_due()

    [dead] = (await webhooks.owed(PLATFORM, PROJECT, made.id, state=DeliveryState.DEAD)).items
    assert (len(receiver.got), dead.attempts, dead.reason) == (ATTEMPTS_MAX, ATTEMPTS_MAX, "the receiver answered 500")
    assert [event.kind for event in await platform.log.after(0, kinds=("webhook.gave_up",))] == ["webhook.gave_up"]
    assert len({headers["x-mlflow-delivery-id"] for headers, _ in receiver.got}) == 1
    receiver.status = 200
    await webhooks.send_again(PLATFORM, PROJECT, made.id, dead.id)
    await webhooks.deliveries.deliver_due()
    assert await states(webhooks, made) == [("run.finished", "delivered", 1)]
    with pytest.raises(Conflict):
        await webhooks.send_again(PLATFORM, PROJECT, made.id, dead.id)


async def test_pauses_grow_and_the_receiver_may_ask_for_longer_ones() -> None:
    pauses = [pause_us("d", attempt) for attempt in range(1, ATTEMPTS_MAX)]

    assert pauses == sorted(pauses)
    assert pause_us("d", 1, "30") == 30_000_000
    assert pause_us("d", 1, "999999") == 600_000_000
    assert pause_us("d", 1, "tomorrow") == pauses[0]


async def test_an_example_is_sent_now_and_its_answer_shown(webhooks: Webhooks, receiver: Any) -> None:
    made = await hook(webhooks, "run.failed", "model_version.created", url=receiver.url)
    receiver.status = 404

    tested = await webhooks.test(PLATFORM, PROJECT, made.id, "model_version.created")
    assert (tested.success, tested.status, tested.body) == (False, 404, "took")
    assert json.loads(receiver.got[0][1])["data"]["name"] == "example_model"


@pytest.mark.parametrize("name", EVENTS)
async def test_every_event_has_an_example(name: str) -> None:
    assert example_of(name)


async def test_every_event_is_told_of_something_in_the_log() -> None:
    facts = [{"prompt": prompt, "version": version} for prompt in (True, False) for version in (0, 1)]
    events = [Event(kind=kind, project="p", subject="s", actor="a", data=data) for kind in KINDS for data in facts]

    assert {name for event in events for name in names_of(event)} == set(EVENTS)


async def test_a_secret_is_sealed_and_never_shown(platform: Platform, webhooks: Webhooks) -> None:
    made = await hook(webhooks, secret="very secret indeed")
    changed = await webhooks.update(PLATFORM, PROJECT, made.id, WebhookChange(secret=""))

    assert (made.has_secret, changed.has_secret) == (True, False)
    log = await platform.log.after(0, limit=1_000)
    assert "very secret" not in repr((made, log))


@pytest.mark.parametrize(
    "change",
    [
        {"url": "ftp://example.com"},
        {"url": "  "},
        {"url": "http://[bad"},
        {"url": "https://user:password@example.com/"},
        {"events": ()},
        {"events": ("run.exploded",)},
        {"events": ("run.failed",) * 40},
        {"name": "-x"},
        {"name": "x" * 64},
        {"note": "x" * 1_001},
        {"secret": "x" * 1_001},
    ],
)
async def test_what_no_webhook_may_be_is_refused(webhooks: Webhooks, change: dict[str, Any]) -> None:
    made = await hook(webhooks)
    fields = {"name": "h", "url": PUBLIC, "events": ("run.failed",)} | change

    with pytest.raises(InvalidValue):
        await webhooks.create(PLATFORM, PROJECT, WebhookSpec(**fields))
    with pytest.raises(InvalidValue):
        await webhooks.update(PLATFORM, PROJECT, made.id, WebhookChange(**change))
    assert (await webhooks.get(PLATFORM, PROJECT, made.id)).revision == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "0x7f000001", "localhost"])
async def test_an_address_inside_is_refused(build: Callable[..., Webhooks], host: str) -> None:
    with pytest.raises((Forbidden, InvalidValue)):
        await hook(build(), url=f"https://{host}/hook")


async def test_a_deleted_webhook_is_owed_nothing(platform: Platform, webhooks: Webhooks, receiver: Any) -> None:
    made = await hook(webhooks, url=receiver.url, secret="s")
    receiver.status = 500
    await happen(platform, webhooks, "run.finished")
    await webhooks.delete(PLATFORM, PROJECT, made.id)
    assert isinstance(platform.clock, ManualClock)
    platform.clock.advance(1_000)

    assert await webhooks.deliveries.deliver_due() == 0
    with pytest.raises(NotFound, match=r"Webhook with ID .* not found"):
        await webhooks.get(PLATFORM, PROJECT, made.id)


async def test_another_tenant_and_one_without_the_scope_get_nothing(webhooks: Webhooks) -> None:
    made = await hook(webhooks)
    eve = Actor(id="eve", scopes=frozenset({"*"}), projects=frozenset({"other"}))
    job = Actor(id="job:run-1", scopes=frozenset({"runs:write", "models:write"}))

    with pytest.raises(NotFound):
        await webhooks.get(eve, PROJECT, made.id)
    with pytest.raises(NotFound):
        await webhooks.get(eve, "other", made.id)
    with pytest.raises(Forbidden):
        await webhooks.delete(job, PROJECT, made.id)
