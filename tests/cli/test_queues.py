"""queue, whatif: declared, changed, booked, looked at, taken away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.terminal import Terminal

NEVER = ("--from", "2036-12-01T08:00", "--until", "2036-12-01T18:00")


@pytest.fixture
def vision(terminal: Terminal) -> Iterator[str]:
    """A queue with a quota and a budget."""
    terminal.done("queue", "create", "vision", "--guarantee", "cpus=1", "--ceiling", "cpus=2", "--budget", "usd=500")
    yield "vision"
    terminal.sill("queue", "delete", "vision")


def test_a_queue_is_declared_changed_shown_and_forgotten(terminal: Terminal, vision: str) -> None:
    assert "vision" in terminal.done("queue", "list")
    assert terminal.json("queue", "set", vision, "--ceiling", "", "--weight", "2")["weight"] == 2.0
    (listed,) = terminal.json("queue", "list")
    assert (listed["guarantee"], listed.get("ceiling", {}), listed["budget"]) == ({"cpus": 1.0}, {}, {"usd": 500.0})
    shown = terminal.done("queue", "show")
    assert shown == terminal.done("queue")
    assert [word for word in ("vision", "1 cpus", "of 500") if word not in shown] == []
    assert "is gone" in terminal.done("queue", "delete", vision)
    assert terminal.json("queue", "list") == []


def test_what_waits_longest_is_told_with_what_holds_it_back(terminal: Terminal, vision: str) -> None:
    terminal.done("queue", "set", vision, "--of", "default", "--ceiling", "cpus=1")
    first, second = (
        str(terminal.json("run", "--detach", "--no-code", "--name", name, "--", "sleep", "60")["id"])
        for name in ("one", "two")
    )
    told = terminal.json("queue", "waiting")
    assert [(each["run_id"], each["project"], each["queue"]) for each in told] == [(second, "default", vision)]
    shown = terminal.done("queue", "waiting")
    assert [word for word in ("two", "1 cpus", "holds 1 of its ceiling of 1") if word not in shown] == []
    for run in (second, first):
        terminal.done("cancel", run)
    assert terminal.json("queue", "waiting") == []


def test_what_is_booked_keeps_its_queue_from_being_deleted(terminal: Terminal, vision: str) -> None:
    terminal.done("queue", "reserve", "launch", "--queue", vision, "--resources", "cpus=1", *NEVER)
    terminal.done("queue", "maintain", "discs", "--node", "local", *NEVER)

    assert [each["name"] for each in terminal.json("queue", "bookings")] == ["discs", "launch"]
    terminal.sill("queue", "delete", vision).refused("conflict", "launch")
    for name in ("launch", "discs"):
        assert "is gone" in terminal.done("queue", "unbook", name)


def test_queues_that_mean_nothing_are_refused(terminal: Terminal, vision: str) -> None:
    terminal.refused(
        ("invalid_value|NAME=AMOUNT", "queue", "create", "q", "--guarantee", "cpus"),
        ("invalid_value|cpus", "queue", "create", "q", "--guarantee", "cpus=-1"),
        ("invalid_value|nobody", "queue", "create", "q", "--parent", "nobody"),
        ("invalid_value|defer", "queue", "create", "q", "--when-spent", "shout"),
        ("conflict|vision", "queue", "create", vision),
        ("not_found|nowhere", "queue", "set", "nowhere", "--weight", "2"),
        ("not_found|shadow", "queue", "shadow"),
    )


def test_more_machines_are_played_through_without_a_change(terminal: Terminal, shop: Path) -> None:
    told = terminal.json("whatif", "--add", "cpus=4", "--last", "1d")

    assert told["after"]["jobs"] == told["before"]["jobs"] > 0
    terminal.sill("whatif", "--now").refused("invalid_value", "--add")
