"""Queues are changed by those who may, one change at a time, and told in events."""

import asyncio

import msgspec
import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound
from sill.queues.service import Queues, version
from sill.queues.types import BookingSpec, QueueSpec
from sill.stores.database import Database
from sill.stores.log import events_after

pytestmark = pytest.mark.anyio
ADA = Actor(id="ada", scopes=frozenset({"*"}))
TENANT = Actor(id="tom", scopes=frozenset({"*"}), projects=frozenset({"shop"}))


async def test_a_queue_is_created_changed_and_deleted_with_events(queues: Queues, database: Database) -> None:
    made = await queues.put(ADA, QueueSpec(name="vision", ceiling={"cpus": 4}))
    changed = await queues.put(ADA, msgspec.structs.replace(made, ceiling={"cpus": 8}))
    assert (await queues.queues(ADA), changed.revision) == ((changed,), 2)

    await queues.delete(ADA, "vision")
    assert await queues.queues(ADA) == ()
    events = await database.read(lambda connection: events_after(connection, 0, "", (), 100))
    assert [event.kind for event in events] == ["queue.set", "queue.set", "queue.deleted"]


async def test_of_two_changes_from_one_state_one_is_refused(queues: Queues, database: Database) -> None:
    made = await queues.put(ADA, QueueSpec(name="vision", ceiling={"cpus": 4}))
    changes = [msgspec.structs.replace(made, ceiling={"cpus": amount}) for amount in (1.0, 2.0, 3.0)]

    outcomes = await asyncio.gather(*(queues.put(ADA, change) for change in changes), return_exceptions=True)
    assert sorted(isinstance(outcome, Conflict) for outcome in outcomes) == [False, True, True]


async def test_two_halves_of_a_circle_cannot_be_declared_at_once(queues: Queues) -> None:
    a, b = [await queues.put(ADA, QueueSpec(name=name)) for name in ("a", "b")]
    crossed = (msgspec.structs.replace(a, parent="b"), msgspec.structs.replace(b, parent="a"))

    outcomes = await asyncio.gather(*(queues.put(ADA, queue) for queue in crossed), return_exceptions=True)
    assert sum(isinstance(outcome, InvalidValue) for outcome in outcomes) == 1


async def test_every_change_has_another_version(queues: Queues, database: Database) -> None:
    versions = {await database.read(version)}
    made = await queues.put(ADA, QueueSpec(name="a"))
    versions.add(await database.read(version))
    await queues.put(ADA, made)
    versions.add(await database.read(version))
    assert len(versions) == 3


async def test_a_tenant_sees_its_own_queues_and_changes_none(queues: Queues) -> None:
    await queues.put(ADA, QueueSpec(name="all"))
    await queues.put(ADA, QueueSpec(name="mine", parent="all", projects=("other", "shop")))
    await queues.put(ADA, QueueSpec(name="theirs", parent="all", projects=("secret",)))

    seen = await queues.queues(TENANT)
    assert [(queue.name, queue.projects) for queue in seen] == [("all", ()), ("mine", ("shop",))]
    with pytest.raises(NotFound, match="theirs"):
        await queues.queue(TENANT, "theirs")
    for work in (queues.put(TENANT, QueueSpec(name="b")), queues.delete(TENANT, "mine"), queues.bookings(TENANT)):
        with pytest.raises(Forbidden):
            await work


async def test_what_others_need_is_not_deleted(queues: Queues) -> None:
    await queues.put(ADA, QueueSpec(name="a"))
    await queues.put(ADA, QueueSpec(name="b", parent="a"))
    booking = BookingSpec(name="r", kind="reservation", queue="b", resources={"cpus": 1}, start_us=1, end_us=2)
    await queues.book(ADA, booking)
    for name in ("a", "b"):
        with pytest.raises(Conflict, match="is needed by"):
            await queues.delete(ADA, name)

    await queues.cancel_booking(ADA, "r")
    await queues.delete(ADA, "b")
    with pytest.raises(NotFound):
        await queues.delete(ADA, "b")
