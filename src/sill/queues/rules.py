"""What may be declared, what the scheduler is told of it, and what a budget leaves. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from sill.core.errors import Conflict, InvalidValue
from sill.core.names import check_name, shorten
from sill.queues.types import BookingSpec, Declared, QueueSpec
from sill.scheduler.rules import check_queues
from sill.scheduler.types import Queue

BUDGETS = ("usd", "energy_kwh", "carbon_kg")
PROJECTS_MAX = 1_000
PRIORITY_MAX = 1_000
BOOKING_US_MAX = 366 * 24 * 3600 * 1_000_000
NOTE_LENGTH_MAX = 1_000
QUANTITY_MAX = 2.0**60
_RESOURCE = re.compile(r"cpus|memory_bytes|accelerators(/[a-z0-9]([a-z0-9_.-]{0,98}[a-z0-9])?)?")


def check_queue(queue: QueueSpec, known: tuple[str, ...]) -> None:
    """Check what a queue says by itself.

    Args:
        known: the resources there are.
    Raises:
        InvalidValue: it names the field, what is wrong and what is allowed.
    """
    check_name(queue.name)
    _check_platform(queue.project)
    for project in queue.projects:
        check_name(project, "projects")
    if len(queue.projects) > PROJECTS_MAX or len(set(queue.projects)) < len(queue.projects):
        raise InvalidValue(f"projects are named once each, at most {PROJECTS_MAX}.", field="projects")
    for field in ("guarantee", "ceiling", "borrow", "lend"):
        check_resources(getattr(queue, field), field, known)
    for name, most in queue.ceiling.items():
        if queue.guarantee.get(name, 0) > most:
            raise InvalidValue(
                f"queue {queue.name!r}: the guarantee of {queue.guarantee[name]:g} {name} is above the ceiling of {most:g}.",
                fix="Raise the ceiling, or lower the guarantee.",
                field="guarantee",
            )
    for name, amount in queue.budget.items():
        if name not in BUDGETS:
            raise InvalidValue(
                f"budget {shorten(name)!r} is not one of {', '.join(BUDGETS)}.", fix="Choose one.", field="budget"
            )
        _check_quantity(amount, f"budget of {name}", "budget")
    _check_numbers(queue)


def check_resources(given: Mapping[str, float], field: str, known: tuple[str, ...]) -> None:
    """Refuse quantities that mean nothing, and resources that nothing here has.

    Raises:
        InvalidValue: it names the resource, and those there are.
    """
    for name, amount in given.items():
        if not _RESOURCE.fullmatch(name) or (known and name not in known):
            raise InvalidValue(
                f"{field} {shorten(name)!r}: no machine here has such a resource; there are {', '.join(known)}.",
                fix="Name one of them.",
                field=field,
            )
        _check_quantity(amount, f"{field} of {name}", field)


def check_tree(queues: Iterable[QueueSpec]) -> None:
    """Refuse what is no tree, and projects with two queues.

    Raises:
        InvalidValue: a parent is missing or below itself, or a queue with queues below it has projects.
        Conflict: two queues name one project.
    """
    listed = list(queues)
    check_queues([to_scheduler(queue) for queue in listed])
    parents = {queue.parent for queue in listed}
    owner: dict[str, str] = {}
    for queue in listed:
        if queue.projects and queue.name in parents:
            raise InvalidValue(
                f"queue {queue.name!r} has queues below it, so no project can wait in it itself.",
                fix="Give the projects to one of those below.",
                field="projects",
            )
        for project in queue.projects:
            if project in owner:
                raise Conflict(
                    f"project {project!r} is in queue {owner[project]!r} already; it cannot be in {queue.name!r} too.",
                    fix=f"Take it out of {owner[project]!r} first.",
                )
            owner[project] = queue.name


def check_booking(
    booking: BookingSpec, queues: Iterable[QueueSpec], known: tuple[str, ...], nodes: tuple[str, ...]
) -> None:
    """Check what is to be booked.

    Raises:
        InvalidValue: no span, no such queue or node, or resources nobody has.
    """
    check_name(booking.name)
    _check_platform(booking.project)
    if not 0 <= booking.start_us < booking.end_us <= booking.start_us + BOOKING_US_MAX:
        raise InvalidValue(
            f"the span from {booking.start_us} to {booking.end_us} is none, or longer than a year.", field="end_us"
        )
    if len(booking.note) > NOTE_LENGTH_MAX:
        raise InvalidValue(f"the note is longer than {NOTE_LENGTH_MAX:,} characters.", field="note")
    if booking.kind == "maintenance":
        if booking.node not in nodes:
            raise InvalidValue(
                f"there is no node {shorten(booking.node)!r}; there are {', '.join(nodes[:20])}.",
                fix="Name one of them.",
                field="node",
            )
        return
    names = [queue.name for queue in queues]
    if booking.queue not in names:
        raise InvalidValue(
            f"there is no queue {shorten(booking.queue)!r}.", fix="Create it first: sill queue create.", field="queue"
        )
    if not booking.resources:
        raise InvalidValue("nothing is reserved.", fix="Name resources, such as cpus=4.", field="resources")
    check_resources(booking.resources, "resources", known)


def to_scheduler(queue: QueueSpec) -> Queue:
    """The queue as the scheduler has it."""
    return Queue(
        name=queue.name,
        parent=queue.parent,
        guarantee=queue.guarantee,
        ceiling=queue.ceiling,
        borrow=queue.borrow,
        lend=queue.lend,
        weight=queue.weight,
        band=queue.priority,
        half_life_s=queue.half_life_s,
        strict=queue.strict,
        patience_s=queue.patience_s,
    )


def in_force(declared: Declared, now_us: int, known: tuple[str, ...]) -> tuple[Queue, ...]:
    """The queues as they hold now: with what is reserved, and without resources that no machine has at the moment.

    What is reserved is guaranteed beside the queue's own guarantee, and is not lent.
    """
    found = {queue.name: queue for queue in declared.queues}
    for booking in declared.bookings:
        if booking.kind == "reservation" and booking.queue in found and booking.start_us <= now_us < booking.end_us:
            queue = found[booking.queue]
            lent = {name: queue.lend.get(name, queue.guarantee.get(name, 0.0)) for name in booking.resources}
            more = {name: queue.guarantee.get(name, 0.0) + amount for name, amount in booking.resources.items()}
            found[booking.queue] = msgspec.structs.replace(
                queue, guarantee=queue.guarantee | more, lend=queue.lend | lent
            )
    return tuple(_only(to_scheduler(queue), known) for queue in found.values())


def under_maintenance(declared: Declared, now_us: int) -> frozenset[str]:
    """Nodes that take no new work now."""
    return frozenset(
        booking.node
        for booking in declared.bookings
        if booking.kind == "maintenance" and booking.start_us <= now_us < booking.end_us
    )


def next_change_us(declared: Declared, now_us: int) -> int:
    """When a booking begins or ends next; 0 for never."""
    times = (at_us for booking in declared.bookings for at_us in (booking.start_us, booking.end_us))
    return min((at_us for at_us in times if at_us > now_us), default=0)


def queue_of(declared: Declared) -> dict[str, str]:
    """The queue of each project that has one."""
    return {project: queue.name for queue in declared.queues for project in queue.projects}


def own_queue(project: str, declared: Declared) -> str:
    """The queue of a project that was given none: one of its name, unless somebody declared a queue of that name."""
    taken = any(queue.name == project for queue in declared.queues)
    return f"project:{project}" if taken else project


def above(declared: Declared) -> dict[str, tuple[str, ...]]:
    """For each queue itself and all above it."""
    parents = {queue.name: queue.parent for queue in declared.queues}
    found: dict[str, tuple[str, ...]] = {}
    for name in parents:
        path = [name]
        while parents.get(path[-1]):
            path.append(parents[path[-1]])
        found[name] = tuple(path)
    return found


def month_start_us(now_us: int) -> int:
    """When the calendar month began, UTC."""
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    return round(datetime(now.year, now.month, 1, tzinfo=UTC).timestamp() * 1e6)


def month_end_us(now_us: int) -> int:
    """When the next calendar month begins, UTC."""
    now = datetime.fromtimestamp(now_us / 1e6, UTC)
    year, month = (now.year + 1, 1) if now.month == 12 else (now.year, now.month + 1)
    return round(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1e6)


def _only(queue: Queue, known: tuple[str, ...]) -> Queue:
    fields = {
        field: {name: amount for name, amount in getattr(queue, field).items() if name in known}
        for field in ("guarantee", "ceiling", "borrow", "lend")
    }
    return msgspec.structs.replace(queue, **fields)


def _check_platform(project: str) -> None:
    if project:
        raise InvalidValue(
            f"project {shorten(project)!r}: queues belong to the platform.", fix="Leave it empty.", field="project"
        )


def _check_quantity(amount: float, what: str, field: str) -> None:
    if not math.isfinite(amount) or not 0 <= amount <= QUANTITY_MAX:
        raise InvalidValue(f"the {what} is {amount}; it is a number of 0 or more.", field=field)


def _check_numbers(queue: QueueSpec) -> None:
    for field, given, least, most in (
        ("weight", queue.weight, 1e-6, 1e6),
        ("priority", queue.priority, -PRIORITY_MAX, PRIORITY_MAX),
        ("half_life_s", queue.half_life_s, 0, 366 * 24 * 3600.0),
        ("patience_s", queue.patience_s or 0.0, 0, 366 * 24 * 3600.0),
    ):
        if not math.isfinite(given) or not least <= given <= most:
            raise InvalidValue(f"{field} {given} is outside {least:g} to {most:g}.", field=field)
