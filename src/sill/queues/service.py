"""Use cases of queues: declare, change, delete, book. Each change is one transaction that sees the whole tree."""

import msgspec
from sqlalchemy import Connection

from sill.core.actors import ANY, Actor
from sill.core.errors import Conflict, Forbidden, NotFound
from sill.core.names import check_name
from sill.governance.rules import require
from sill.queues import rules, store
from sill.queues.store import BOOKINGS, QUEUES
from sill.queues.types import BookingSpec, Declared, QueueSpec
from sill.stores.database import Database, Tx

BOOKINGS_MAX = 1_000


class Queues:
    """Queues of the whole platform.

    Args:
        resources: names of what the machines have.
        nodes: names of the machines.
    """

    def __init__(self, database: Database, resources: tuple[str, ...], nodes: tuple[str, ...]) -> None:
        self._database = database
        self._resources = resources
        self._nodes = nodes

    async def queues(self, actor: Actor) -> tuple[QueueSpec, ...]:
        """The queues the actor may see: all, or those of its projects and those above them."""
        require(actor, "queues:read")
        return visible(actor, await self._database.read(store.declared))

    async def queue(self, actor: Actor, name: str) -> QueueSpec:
        """One queue.

        Raises:
            NotFound: there is none, or it is other tenants'.
        """
        for queue in await self.queues(actor):
            if queue.name == name:
                return queue
        raise _no_queue(name)

    async def put(self, actor: Actor, queue: QueueSpec) -> QueueSpec:
        """Create a queue (`revision` 0), or change one as it stood at `revision`.

        Raises:
            Conflict: it exists already, or somebody else changed it in between.
            InvalidValue: it, or the tree with it, means nothing.
        """
        _require_all(actor, "queues:write")
        rules.check_queue(queue, self._resources)

        def work(tx: Tx) -> QueueSpec:
            others = [each for each in QUEUES.every(tx.connection) if each.name != queue.name]
            rules.check_tree([*others, queue])
            kept = QUEUES.replace(tx, queue) if queue.revision else QUEUES.create(tx, queue)
            tx.emit("queue.set", "", queue.name, actor.id, parent=queue.parent, revision=kept.revision)
            return kept

        return await self._database.write(work)

    async def delete(self, actor: Actor, name: str) -> None:
        """Forget a queue. Its projects' runs go on, each project in a queue of its own without limits.

        Raises:
            Conflict: queues lie below it, or something is reserved for it.
        """
        _require_all(actor, "queues:write")
        check_name(name)

        def work(tx: Tx) -> None:
            if QUEUES.find(tx.connection, "", name) is None:
                raise _no_queue(name)
            below = [queue.name for queue in QUEUES.every(tx.connection) if queue.parent == name]
            booked = [each.name for each in BOOKINGS.every(tx.connection) if each.queue == name]
            if below or booked:
                raise Conflict(
                    f"queue {name!r} is needed by {', '.join((below + booked)[:5])}.", fix="Delete those first."
                )
            QUEUES.delete(tx, "", name)
            tx.emit("queue.deleted", "", name, actor.id)

        await self._database.write(work)

    async def bookings(self, actor: Actor) -> tuple[BookingSpec, ...]:
        """All reservations and maintenance, past ones too."""
        _require_all(actor, "queues:read")
        return tuple(await self._database.read(lambda connection: BOOKINGS.every(connection)))

    async def book(self, actor: Actor, booking: BookingSpec) -> BookingSpec:
        """Reserve something for a queue, or plan maintenance of a node.

        Raises:
            Conflict: there is one of that name, or there are too many.
            InvalidValue: it means nothing.
        """
        _require_all(actor, "queues:write")

        def work(tx: Tx) -> BookingSpec:
            known = BOOKINGS.every(tx.connection)
            if len(known) >= BOOKINGS_MAX:
                raise Conflict(f"there are {len(known)} bookings, at most {BOOKINGS_MAX}.", fix="Delete past ones.")
            rules.check_booking(booking, QUEUES.every(tx.connection), self._resources, self._nodes)
            kept = BOOKINGS.create(tx, msgspec.structs.replace(booking, revision=0))
            span = {"start_us": booking.start_us, "end_us": booking.end_us}
            tx.emit("booking.made", "", booking.name, actor.id, kind=booking.kind, **span)
            return kept

        return await self._database.write(work)

    async def cancel_booking(self, actor: Actor, name: str) -> None:
        """Forget a reservation or maintenance."""
        _require_all(actor, "queues:write")

        def work(tx: Tx) -> None:
            BOOKINGS.delete(tx, "", check_name(name))
            tx.emit("booking.cancelled", "", name, actor.id)

        await self._database.write(work)


def declared(connection: Connection) -> Declared:
    """All that is declared. For the scheduler, not for a person."""
    return store.declared(connection)


def version(connection: Connection) -> str:
    """What `Declared.version` would be now."""
    return store.version(connection)


def visible(actor: Actor, every: Declared) -> tuple[QueueSpec, ...]:
    """The queues an actor may see; others' projects are left out of them."""
    if ANY in actor.projects:
        return every.queues
    paths = rules.above(every)
    seen = {
        name
        for queue in every.queues
        if any(actor.may_touch(project) for project in queue.projects)
        for name in paths[queue.name]
    }
    own = [queue for queue in every.queues if queue.name in seen]
    return tuple(
        msgspec.structs.replace(queue, projects=tuple(filter(actor.may_touch, queue.projects))) for queue in own
    )


def _require_all(actor: Actor, scope: str) -> None:
    require(actor, scope)
    if ANY not in actor.projects:
        raise Forbidden(
            f"{actor.id} may not do this: queues are the whole platform's.",
            fix="Use a token that is good for all projects.",
        )


def _no_queue(name: str) -> NotFound:
    return NotFound(f"no queue {name!r}.", fix="List them: sill queue list.")
