"""What may be declared of queues, and what the scheduler is told of it."""

import math
from typing import Any

import pytest

from sill.core.errors import Conflict, InvalidValue
from sill.queues.rules import (
    check_booking,
    check_queue,
    check_tree,
    in_force,
    month_end_us,
    month_start_us,
    next_change_us,
    own_queue,
    under_maintenance,
)
from sill.queues.types import BookingSpec, Declared, QueueSpec

KNOWN = ("cpus", "memory_bytes", "accelerators", "accelerators/a100")
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"guarantee": {"cpus": -1}}, "0 or more"),
        ({"ceiling": {"cpus": math.nan}}, "0 or more"),
        ({"lend": {"cpus": math.inf}}, "0 or more"),
        ({"borrow": {"accelerators/h100": 1}}, "no machine here has such a resource"),
        ({"guarantee": {"../etc": 1}}, "no machine here has such a resource"),
        ({"guarantee": {"cpus": 4}, "ceiling": {"cpus": 2}}, "above the ceiling"),
        ({"budget": {"eur": 1}}, "is not one of usd, energy_kwh, carbon_kg"),
        ({"budget": {"usd": math.nan}}, "0 or more"),
        ({"weight": 0.0}, "weight 0.0"),
        ({"priority": 10_000}, "priority 10000"),
        ({"project": "p"}, "belong to the platform"),
        ({"name": "../x"}, "is not a name"),
        ({"projects": ("a", "a")}, "once each"),
    ],
)
def test_what_means_nothing_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        check_queue(QueueSpec(**{"name": "q", **fields}), KNOWN)


@pytest.mark.parametrize(
    "queues",
    [
        (QueueSpec(name="a", parent="a"),),
        (QueueSpec(name="a", parent="b"), QueueSpec(name="b", parent="a")),
        (QueueSpec(name="a", parent="nobody"),),
        (QueueSpec(name="a", projects=("p",)), QueueSpec(name="b", parent="a")),
        tuple(QueueSpec(name=f"q{at}", parent=f"q{at - 1}" if at else "") for at in range(20)),
    ],
)
def test_what_is_no_tree_is_refused(queues: tuple[QueueSpec, ...]) -> None:
    with pytest.raises(InvalidValue):
        check_tree(queues)


def test_a_project_has_one_queue() -> None:
    with pytest.raises(Conflict, match="already"):
        check_tree((QueueSpec(name="a", projects=("p",)), QueueSpec(name="b", projects=("p",))))


def test_a_reservation_is_guaranteed_and_not_lent_as_long_as_it_lasts() -> None:
    booked = BookingSpec(name="r", kind="reservation", queue="q", resources={"cpus": 2}, start_us=HOUR, end_us=2 * HOUR)
    declared = Declared(queues=(QueueSpec(name="q", guarantee={"cpus": 1}),), bookings=(booked,))

    before, during, after = (in_force(declared, at_us, KNOWN)[0] for at_us in (0, HOUR, 2 * HOUR))
    assert (before.guarantee, before.lend) == (after.guarantee, after.lend) == ({"cpus": 1}, {})
    assert (during.guarantee, during.lend) == ({"cpus": 3}, {"cpus": 1})
    assert [next_change_us(declared, at_us) for at_us in (0, HOUR, 2 * HOUR)] == [HOUR, 2 * HOUR, 0]


def test_maintenance_closes_a_node_for_its_time() -> None:
    declared = Declared(bookings=(BookingSpec(name="m", kind="maintenance", node="n", start_us=HOUR, end_us=2 * HOUR),))

    assert [sorted(under_maintenance(declared, at_us)) for at_us in (0, HOUR, 2 * HOUR)] == [[], ["n"], []]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"end_us": 0}, "is none"),
        ({"queue": "nobody"}, "no queue"),
        ({"resources": {}}, "nothing is reserved"),
        ({"resources": {"cpus": math.nan}}, "0 or more"),
        ({"kind": "maintenance", "node": "nobody"}, "no node"),
    ],
)
def test_a_booking_that_means_nothing_is_refused(fields: dict[str, Any], says: str) -> None:
    good = {"name": "r", "kind": "reservation", "queue": "q", "resources": {"cpus": 1}, "start_us": 1, "end_us": 2}
    with pytest.raises(InvalidValue, match=says):
        check_booking(BookingSpec(**{**good, **fields}), (QueueSpec(name="q"),), KNOWN, ("n",))


def test_quotas_of_what_is_not_there_any_more_hold_nothing_up() -> None:
    declared = Declared(queues=(QueueSpec(name="q", ceiling={"accelerators/a100": 1, "cpus": 2}),))

    assert in_force(declared, 0, ("cpus",))[0].ceiling == {"cpus": 2}


def test_a_project_never_falls_into_a_queue_that_was_declared_for_others() -> None:
    declared = Declared(queues=(QueueSpec(name="vision", projects=("shop",)),))

    assert (own_queue("shop2", declared), own_queue("vision", declared)) == ("shop2", "project:vision")


def test_a_month_ends_where_the_next_begins() -> None:
    december = 1_796_000_000_000_000  # 2026-11-29
    assert month_start_us(month_end_us(december)) == month_end_us(december)
    assert month_start_us(december) <= december < month_end_us(december)
