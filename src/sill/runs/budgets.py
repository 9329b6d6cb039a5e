"""What is left of the budgets of queues, and whether a run may start on it. Pure; the board feeds it.

A run is let start if what was spent this month, what runs now will come to by prediction, and what the run itself will
come to by prediction stay within every budget above it. Predictions fail: what runs is stopped shortly before the budget
is passed, by what it costs each second at full use of what it asked for, or by what it was seen to use if that is more.
"""

from collections.abc import Callable, Iterable

from sill.core.clock import iso
from sill.core.values import Value
from sill.costs.types import Cost, Usage
from sill.queues.rules import BUDGETS, above, month_end_us
from sill.queues.types import Declared, QueueSpec
from sill.runs.types import Resources

GIB = 1024**3
UNITS = {"usd": "USD", "energy_kwh": "kWh", "carbon_kg": "kg of CO2e"}
MARGIN_S = 15.0
"""What runs is stopped when so many seconds more would pass the budget: a stop takes up to ten."""

Amount = tuple[float, float, float]
"""US dollars, kilowatt-hours, kilograms of CO2 equivalent."""
NOTHING: Amount = (0.0, 0.0, 0.0)


def full_use(needs: Resources, seconds: float) -> Usage:
    """What a run uses that keeps busy all it asked for, so long. Of several kinds of devices the first counts."""
    workers = needs.workers
    return Usage(
        wall_s=seconds,
        cpu_s=needs.cpus * workers * seconds,
        memory_gib_s=needs.memory_bytes * workers / GIB * seconds,
        accelerator_s=needs.accelerators * workers * seconds,
        accelerator=needs.accelerator_types[0] if needs.accelerator_types else "",
    )


class Holder(Value, frozen=True, kw_only=True):
    """A run that holds its place: its queue, how long its attempt has lasted and will last, what a second comes to, and
    what it was seen to come to so far."""

    run_id: str
    queue: str
    had_s: float
    left_s: float
    rate: Amount
    seen: Amount = NOTHING


class Refusal(Value, frozen=True, kw_only=True):
    """Why a run may not start or go on: the budget that would be passed, until when, and whether the run is over by it."""

    text: str
    until_us: int
    is_end: bool


class Budgets:
    """All budgets, and how they stand.

    Args:
        price: what a use comes to.
    """

    def __init__(self, price: Callable[[Usage], Cost]) -> None:
        self._price = price
        self._rates: dict[Resources, Amount] = {}
        self._paths: dict[str, tuple[QueueSpec, ...]] = {}
        self._own: Callable[[str], str] = str
        self._spent: dict[str, Amount] = {}
        self._now_us = 0
        self.is_needed = False
        """True if any queue has a budget."""

    def declare(self, declared: Declared, queue_of: Callable[[str], str]) -> None:
        """Take what is declared.

        Args:
            queue_of: the queue of a project.
        """
        by_name = {queue.name: queue for queue in declared.queues}
        paths = above(declared)
        self._paths = {
            name: found
            for name, path in paths.items()
            if (found := tuple(by_name[at] for at in path if by_name[at].budget))
        }
        self._own = queue_of
        self.is_needed = bool(self._paths)

    def measure(self, now_us: int, spent: dict[str, tuple[float, float, float]]) -> None:
        """Take what projects have come to since the month began (US dollars, watt-hours, grams)."""
        self._now_us = now_us
        self._spent = {}
        for project, (usd, wh, grams) in spent.items():
            for queue in self._paths.get(self._own(project), ()):
                self._spent[queue.name] = plus(self._spent.get(queue.name, NOTHING), (usd, wh / 1e3, grams / 1e3))

    def rate(self, needs: Resources) -> Amount:
        """What a second of a run comes to at full use of what it asked for."""
        known = self._rates.get(needs)
        if known is None:
            known = self._rates[needs] = amount_of(self._price(full_use(needs, 1.0)))
        return known

    def refusal(self, queue: str, rate: Amount, runs_s: float, holders: Iterable[Holder]) -> Refusal | None:
        """Why a run of the queue may not start now; None if it may."""
        expected = times(rate, runs_s)
        for bound in self._paths.get(queue, ()):
            mine = [each for each in holders if bound in self._paths.get(each.queue, ())]
            going = total(plus(_had(each), times(_rate(each), each.left_s)) for each in mine)
            spent = self._spent.get(bound.name, NOTHING)
            for at, name in enumerate(BUDGETS):
                most = bound.budget.get(name)
                if most is not None and spent[at] + going[at] + expected[at] > most:
                    text = (
                        f"would pass the budget of queue {bound.name!r}: {spent[at]:.4g} of {most:g} {UNITS[name]} are spent "
                        f"this month, what runs is expected to take {going[at]:.4g} more and this run {expected[at]:.4g}"
                    )
                    return self._refused(bound, text)
        return None

    def passing(self, holders: list[Holder]) -> dict[str, Refusal]:
        """Runs that have to be stopped now, so that no budget is passed, each with the reason."""
        found: dict[str, Refusal] = {}
        for bound in {queue.name: queue for path in self._paths.values() for queue in path}.values():
            mine = [each for each in holders if bound in self._paths.get(each.queue, ())]
            had, soon = total(map(_had, mine)), times(total(map(_rate, mine)), MARGIN_S)
            spent = self._spent.get(bound.name, NOTHING)
            for at, name in enumerate(BUDGETS):
                most = bound.budget.get(name)
                if mine and most is not None and spent[at] + had[at] + soon[at] > most:
                    text = (
                        f"stopped before the budget of queue {bound.name!r} was passed: {spent[at] + had[at]:.4g} of {most:g} "
                        f"{UNITS[name]} were spent this month"
                    )
                    found |= {each.run_id: self._refused(bound, text) for each in mine}
        return found

    def spent(self, queue: str, holders: Iterable[Holder]) -> dict[str, float]:
        """What the queue's budget has come to, with what runs now; empty without a budget."""
        mine = [each for each in holders if any(queue == bound.name for bound in self._paths.get(each.queue, ()))]
        both = plus(self._spent.get(queue, NOTHING), total(map(_had, mine)))
        budget = next((at.budget for path in self._paths.values() for at in path if at.name == queue), {})
        return {name: both[at] for at, name in enumerate(BUDGETS) if name in budget}

    def _refused(self, bound: QueueSpec, text: str) -> Refusal:
        until_us = month_end_us(self._now_us)
        is_end = bound.when_spent == "stop"
        more = "" if is_end else f"; it waits until {iso(until_us)} unless the budget is raised"
        return Refusal(text=text + more, until_us=until_us, is_end=is_end)


def amount_of(cost: Cost) -> Amount:
    """A cost in the units of budgets."""
    return cost.usd, cost.energy_wh / 1e3, cost.carbon_g / 1e3


def plus(first: Amount, second: Amount) -> Amount:
    """The sum of two."""
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


def times(amount: Amount, factor: float) -> Amount:
    """So many times an amount."""
    return amount[0] * factor, amount[1] * factor, amount[2] * factor


def total(amounts: Iterable[Amount]) -> Amount:
    """The sum of many."""
    found = NOTHING
    for amount in amounts:
        found = plus(found, amount)
    return found


def _had(holder: Holder) -> Amount:
    full = times(holder.rate, holder.had_s)
    return max(full[0], holder.seen[0]), max(full[1], holder.seen[1]), max(full[2], holder.seen[2])


def _rate(holder: Holder) -> Amount:
    had = _had(holder)
    return times(had, 1 / holder.had_s) if holder.had_s > MARGIN_S else holder.rate
