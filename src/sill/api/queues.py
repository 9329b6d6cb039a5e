"""Routes of queues: what is declared and booked, and how the cluster stands."""

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue
from sill.queues.types import BookingSpec, QueueSpec
from sill.runs.types import Waiting
from sill.scheduler.simulation.types import ShadowReport, WhatIf, WhatIfReport
from sill.scheduler.types import Standing

ROUTES = Routes(tag="queues")


@ROUTES.get("/queues", scope="queues:read", returns=tuple[QueueSpec, ...])
async def list_queues(call: Call) -> tuple[QueueSpec, ...]:
    """Queues with their quotas and budgets."""
    return await call.services.queues.queues(call.actor)


@ROUTES.get("/queues/{name}", scope="queues:read", returns=QueueSpec)
async def get_queue(call: Call) -> QueueSpec:
    """One queue."""
    return await call.services.queues.queue(call.actor, call.path["name"])


@ROUTES.put("/queues/{name}", scope="queues:write", body=QueueSpec, returns=QueueSpec)
async def put_queue(call: Call) -> QueueSpec:
    """Create a queue (revision 0), or change one as it stood at a revision."""
    _check_named(call)
    return await call.services.queues.put(call.actor, call.body)


@ROUTES.delete("/queues/{name}", scope="queues:write", returns=None)
async def delete_queue(call: Call) -> None:
    """Forget a queue; runs in it go on."""
    await call.services.queues.delete(call.actor, call.path["name"])


@ROUTES.get("/bookings", scope="queues:read", returns=tuple[BookingSpec, ...])
async def list_bookings(call: Call) -> tuple[BookingSpec, ...]:
    """Reservations and maintenance."""
    return await call.services.queues.bookings(call.actor)


@ROUTES.put("/bookings/{name}", scope="queues:write", body=BookingSpec, returns=BookingSpec)
async def put_booking(call: Call) -> BookingSpec:
    """Reserve something for a queue, or plan maintenance of a node."""
    _check_named(call)
    return await call.services.queues.book(call.actor, call.body)


@ROUTES.delete("/bookings/{name}", scope="queues:write", returns=None)
async def delete_booking(call: Call) -> None:
    """Forget a reservation or maintenance."""
    await call.services.queues.cancel_booking(call.actor, call.path["name"])


@ROUTES.get("/scheduler", scope="queues:read", returns=Standing)
async def get_standing(call: Call) -> Standing:
    """How the cluster and its queues stand: shares, borrowing, lending, fragmentation, what waits."""
    return await call.services.overview.standing(call.actor)


@ROUTES.get("/scheduler/waiting", scope="queues:read", returns=tuple[Waiting, ...])
async def list_waiting(call: Call) -> tuple[Waiting, ...]:
    """The runs that have waited longest, of all projects the caller may see, and why each waits."""
    return await call.services.overview.waiting(call.actor)


@ROUTES.post("/scheduler/whatif", scope="queues:read", body=WhatIf, returns=WhatIfReport)
async def ask_what_if(call: Call) -> WhatIfReport:
    """What waits, cost and carbon would be with more machines or another policy; nothing is changed."""
    return await call.services.what_ifs.ask(call.actor, call.body)


@ROUTES.get("/scheduler/shadow", scope="queues:read", returns=ShadowReport)
async def get_shadow(call: Call) -> ShadowReport:
    """What the shadow policy would have done where the other decided."""
    return await call.services.overview.shadow(call.actor)


def _check_named(call: Call) -> None:
    """Refuse a body about something else than the path."""
    if call.body.name != call.path["name"]:
        raise InvalidValue(
            f"the body is about {call.body.name!r}, the path about {call.path['name']!r}.",
            fix="Make them the same.",
            field="name",
        )
