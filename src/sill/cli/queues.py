"""queue: how the cluster and its queues stand, what they are promised, and what is booked."""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from sill.cli.client import stages
from sill.cli.layout import Whole, amount
from sill.cli.options import AsJson, add, choose
from sill.cli.output import Options, ago, remark, show_line, show_table, size, when
from sill.core.errors import InvalidValue
from sill.queues.types import BookingSpec, QueueSpec
from sill.runs.types import Resources
from sill.scheduler.types import QueueStanding, Standing

PANEL = "Runs"
MEMORY = "memory_bytes"
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_QUANTITY = re.compile(r"([0-9.eE+-]+)\s*([kmgt]?)i?b?", re.IGNORECASE)

Name = Annotated[str, typer.Argument(help="Name of a queue.", metavar="NAME")]
Parent = Annotated[str | None, typer.Option(help="The queue above; empty for none.")]
Projects = Annotated[
    list[str] | None, typer.Option("--of", help="A project whose runs wait in it; give it several times.")
]
Guarantee = Annotated[str | None, typer.Option(help="What it gets whenever it asks, such as cpus=8,memory=64g.")]
Ceiling = Annotated[str | None, typer.Option(help="What it may hold at most, such as accelerators=4.")]
Borrow = Annotated[str | None, typer.Option(help="How much above its guarantee it may take; any when not given.")]
Lend = Annotated[str | None, typer.Option(help="How much of its guarantee others may use; all when not given.")]
Weight = Annotated[float | None, typer.Option(help="Its part of what is left, relative to its siblings.")]
Priority = Annotated[int | None, typer.Option(help="Queues of a higher priority are served first.")]
Budget = Annotated[str | None, typer.Option(help="Per calendar month, such as usd=500,energy_kwh=90,carbon_kg=40.")]
WhenSpent = Annotated[str | None, typer.Option(help="defer: runs wait for the next month; stop: they are over.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    queues = typer.Typer(help="Queues: how they stand, their quotas and budgets.", invoke_without_command=True)
    queues.callback()(_standing_if_alone)
    add(queues, show, "sill queue show", name="show", is_about_project=False)
    add(queues, waiting, "sill queue waiting", name="waiting", is_about_project=False)
    add(queues, list_queues, "sill queue list", name="list", is_about_project=False)
    made = (
        "sill queue create vision --guarantee cpus=8 --ceiling cpus=16 --of shop",
        "sill queue create night --parent vision --budget usd=500,carbon_kg=40 --when-spent defer",
    )
    add(queues, create, *made, name="create", is_about_project=False)
    add(queues, change, "sill queue set vision --ceiling cpus=24", name="set", is_about_project=False)
    add(queues, delete, "sill queue delete vision", name="delete", is_about_project=False)
    reserve = (
        "sill queue reserve launch --queue vision --resources cpus=4 --from 2026-12-01T08:00 --until 2026-12-01T18:00"
    )
    add(queues, reserve_for, reserve, name="reserve", is_about_project=False)
    upkeep = "sill queue maintain discs --node local --from 2026-12-01T08:00 --until 2026-12-01T09:00"
    add(queues, maintain, upkeep, name="maintain", is_about_project=False)
    add(queues, shadow, "sill queue shadow", name="shadow", is_about_project=False)
    add(queues, bookings, "sill queue bookings", name="bookings", is_about_project=False)
    add(queues, cancel_booking, "sill queue unbook launch", name="unbook", is_about_project=False)
    app.add_typer(queues, name="queue", rich_help_panel=PANEL)


def _standing_if_alone(context: typer.Context, as_json: AsJson = False) -> None:
    choose(as_json, "")
    if context.invoked_subcommand is None:
        show()


def show() -> None:
    """How the queues stand: shares, borrowing, lending, what waits, and how much of the machines is used."""
    found = stages().queues.standing()
    columns = ("queue", "waits", "runs", "share", "holds", "guarantee", "ceiling", "borrowed", "lent", "budget spent")
    show_table(found, "", columns, [_row(each) for each in found.queues], "no queue has ever had a run.")
    if Options.as_json:
        return
    titles = ("resource", "used", "of", "free", "closed", "free on one node", "fragmented")
    rows = [
        (
            each.name.replace(MEMORY, "memory"),
            *(_shown(each.name, amount) for amount in (each.used, each.total, each.free, each.closed, each.largest)),
            f"{each.fragmentation:.0%}",
        )
        for each in found.resources
    ]
    show_table(found, "", titles, rows, "")
    remark(_in_sum(found))


def waiting() -> None:
    """The runs that have waited longest, in all projects, and what holds each back."""
    found = stages().queues.waiting()
    rows = [
        (each.run_id, each.name, each.project, each.queue, ago(each.created_us), _asked(each.resources), each.reason)
        for each in found
    ]
    columns = (Whole("run"), "name", "project", "queue", "age", "asks for", "why it waits")
    show_table(found, "", columns, rows, "no run waits.", has_prose=True)


def list_queues() -> None:
    """Queues as they were declared."""
    found = stages().queues.list()
    rows = [
        (
            each.name,
            each.parent,
            ", ".join(each.projects),
            _several(each.guarantee),
            _several(each.ceiling),
            f"{each.weight:g}",
            each.priority,
            _several(each.budget),
        )
        for each in found
    ]
    columns = ("name", "parent", "projects", "guarantee", "ceiling", "weight", "priority", "budget")
    show_table(found, "", columns, rows, "no queue is declared: each project has one of its own, without limits.")


def create(
    name: Name,
    parent: Parent = None,
    of: Projects = None,
    guarantee: Guarantee = None,
    ceiling: Ceiling = None,
    borrow: Borrow = None,
    lend: Lend = None,
    weight: Weight = None,
    priority: Priority = None,
    budget: Budget = None,
    when_spent: WhenSpent = None,
) -> None:
    """Declare a queue."""
    fields = _given(parent, of, guarantee, ceiling, borrow, lend, weight, priority, budget, when_spent)
    made = stages().queues.put(msgspec.convert({"name": name, **fields}, QueueSpec))
    show_line(made, f"queue {made.name} is declared.")


def change(
    name: Name,
    parent: Parent = None,
    of: Projects = None,
    guarantee: Guarantee = None,
    ceiling: Ceiling = None,
    borrow: Borrow = None,
    lend: Lend = None,
    weight: Weight = None,
    priority: Priority = None,
    budget: Budget = None,
    when_spent: WhenSpent = None,
) -> None:
    """Change what is given of a queue; an empty text takes a quota or budget away."""
    here = stages()
    fields = _given(parent, of, guarantee, ceiling, borrow, lend, weight, priority, budget, when_spent)
    made = here.queues.put(msgspec.structs.replace(here.queues.get(name), **fields))
    show_line(made, f"queue {made.name} is changed, revision {made.revision}.")


def delete(name: Name) -> None:
    """Forget a queue; its runs go on, each project in a queue of its own."""
    stages().queues.delete(name)
    show_line({"deleted": name}, f"queue {name} is gone.")


def reserve_for(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    queue: Annotated[str, typer.Option(help="The queue it is kept for.")],
    resources: Annotated[str, typer.Option(help="What is kept, such as cpus=4,memory=16g.")],
    start: Annotated[str, typer.Option("--from", help="From when, UTC, such as 2026-12-01T08:00.")],
    until: Annotated[str, typer.Option(help="Until when, UTC.")],
) -> None:
    """Keep resources for a queue for a span of time."""
    booking = BookingSpec(
        name=name,
        kind="reservation",
        queue=queue,
        resources=quantities(resources, "--resources"),
        start_us=_time_us(start, "--from"),
        end_us=_time_us(until, "--until"),
    )
    made = stages().queues.book(booking)
    show_line(made, f"{_several(made.resources)} are kept for queue {made.queue} from {when(made.start_us)} on.")


def maintain(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    node: Annotated[str, typer.Option(help="The machine.")],
    start: Annotated[str, typer.Option("--from", help="From when, UTC, such as 2026-12-01T08:00.")],
    until: Annotated[str, typer.Option(help="Until when, UTC.")],
) -> None:
    """Let a machine take no new work for a span of time."""
    start_us, end_us = _time_us(start, "--from"), _time_us(until, "--until")
    booking = BookingSpec(name=name, kind="maintenance", node=node, start_us=start_us, end_us=end_us)
    made = stages().queues.book(booking)
    show_line(made, f"{made.node} takes no new work from {when(made.start_us)} until {when(made.end_us)}.")


def shadow() -> None:
    """What the shadow policy would have done where the other decided."""
    found = stages().queues.shadow()
    rows = [
        (
            ago(each.at_us),
            each.run_id,
            f"{found.policy if each.is_ours else found.shadow} alone would {each.what} it",
        )
        for each in found.last
    ]
    show_table(found, "", ("age", "run", "what"), rows, f"{found.shadow} would have done all that {found.policy} did.")
    remark(
        f"{found.compared} decisions compared: {found.same} starts and stops of both, {found.ours} of {found.policy} alone, "
        f"{found.theirs} of {found.shadow} alone."
    )


def bookings() -> None:
    """Reservations and maintenance."""
    found = stages().queues.bookings()
    rows = [
        (
            each.name,
            each.kind,
            each.queue or each.node,
            _several(each.resources),
            when(each.start_us),
            when(each.end_us),
        )
        for each in found
    ]
    show_table(found, "", ("name", "kind", "of", "what", "from", "until"), rows, "nothing is booked.")


def cancel_booking(name: Annotated[str, typer.Argument(help="Name of a reservation or maintenance.")]) -> None:
    """Forget a reservation or maintenance."""
    stages().queues.cancel_booking(name)
    show_line({"deleted": name}, f"{name} is gone.")


def quantities(text: str, option: str) -> dict[str, float]:
    """`cpus=4,memory=16g,accelerators/a100=8` by resource; `memory` takes k, m, g, t and means `memory_bytes`.

    Raises:
        InvalidValue: it cannot be read.
    """
    found: dict[str, float] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, said = part.partition("=")
        matched = _QUANTITY.fullmatch(said.strip())
        try:
            if matched is None:
                raise ValueError(said)
            given = float(matched[1]) * _BYTES[matched[2].lower()]
        except ValueError as wrong:
            raise InvalidValue(
                f"{option} {part!r} is not NAME=AMOUNT.", fix="Such as cpus=4,memory=16g,accelerators=2."
            ) from wrong
        found[MEMORY if name.strip() == "memory" else name.strip()] = given
    return found


def _given(
    parent: str | None,
    of: list[str] | None,
    guarantee: str | None,
    ceiling: str | None,
    borrow: str | None,
    lend: str | None,
    weight: float | None,
    priority: int | None,
    budget: str | None,
    when_spent: str | None,
) -> dict[str, object]:
    """The fields that were given."""
    if when_spent not in (None, "defer", "stop"):
        raise InvalidValue(f"--when-spent {when_spent!r} is neither defer nor stop.", fix="Choose one of them.")
    projects = None if of is None else tuple(filter(None, of))
    texts = {"guarantee": guarantee, "ceiling": ceiling, "borrow": borrow, "lend": lend, "budget": budget}
    read = {name: quantities(text, f"--{name}") for name, text in texts.items() if text is not None}
    plain = {
        "parent": parent,
        "projects": projects,
        "weight": weight,
        "priority": priority,
        "when_spent": when_spent,
    }
    return {**{name: value for name, value in plain.items() if value is not None}, **read}


def _row(each: QueueStanding) -> tuple[object, ...]:
    budget = ", ".join(f"{name} {amount(each.spent.get(name, 0.0))} of {most:g}" for name, most in each.budget.items())
    return (
        "  " * each.depth + each.name,
        each.waiting,
        each.running,
        f"{each.share:.3f}",
        *(_several(given) for given in (each.held, each.guarantee, each.ceiling, each.borrowed, each.lent)),
        budget,
    )


def _in_sum(found: Standing) -> str:
    return (
        f"{found.waiting} runs wait, {found.running} run on {found.nodes} node{'s' if found.nodes != 1 else ''}; "
        f"{found.utilisation:.0%} of the scarcest resource is used; policy {found.policy}."
    )


def _asked(needs: Resources) -> str:
    """What a run asks for: so many workers of so much."""
    devices = " or ".join(needs.accelerator_types) or "accelerators"
    one = {"cpus": needs.cpus, devices: needs.accelerators, MEMORY: float(needs.memory_bytes)}
    times = f"{needs.workers} x " if needs.workers > 1 else ""
    return times + _several({name: amount for name, amount in one.items() if amount})


def _several(given: dict[str, float]) -> str:
    return ", ".join(f"{_shown(name, value)} {name.replace('memory_bytes', 'memory')}" for name, value in given.items())


def _shown(name: str, value: float) -> str:
    return size(round(value)) if name == MEMORY else f"{value:g}"


def _time_us(text: str, option: str) -> int:
    try:
        given = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise InvalidValue(f"{option} {text!r} is not a time.", fix="Such as 2026-12-01T08:00.") from wrong
    return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1e6)
