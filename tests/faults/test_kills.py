"""The control plane is killed again and again under load. What it acknowledged is there, nothing is half done."""

from collections.abc import Iterator
from typing import Any

import pytest

from sill.testing.control_plane import ControlPlane
from sill.testing.faults import checks
from sill.testing.faults.storm import Aftermath, raise_storm

SEED = 20_26
READY_S_MAX = 3.0
FEW, MANY = 20, 500
LONG = [pytest.mark.slow, pytest.mark.timeout(7_200)]
"""A storm of 500 kills takes about twenty minutes."""


@pytest.fixture(
    scope="module",
    params=[
        ("sqlite", FEW),
        ("postgres", FEW),
        pytest.param(("sqlite", MANY), marks=LONG),
        pytest.param(("postgres", MANY), marks=LONG),
    ],
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def after(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aftermath]:
    """A platform that went through a storm, on each database; one storm for all the tests below."""
    kind, kills = request.param
    database = request.getfixturevalue("postgres").new_database() if kind == "postgres" else ""
    plane = ControlPlane(tmp_path_factory.mktemp(kind) / "home", database_url=database, cpus="8")
    try:
        yield raise_storm(plane, kills, SEED)
    finally:
        plane.stop()
        plane.end_runs()


def test_nobody_got_an_answer_that_was_none(after: Aftermath) -> None:
    assert after.ledger.surprises == []


def test_every_acknowledged_write_is_there(after: Aftermath) -> None:
    assert checks.lost(after) == []


def test_nothing_is_half_done(after: Aftermath) -> None:
    assert checks.half_done(after) == []


def test_runs_are_adopted_and_run_exactly_once(after: Aftermath) -> None:
    assert checks.runs_gone_wrong(after) == []


def test_the_audit_chain_is_whole(after: Aftermath) -> None:
    assert checks.audit_gone_wrong(after) == []


def test_it_is_ready_within_three_seconds_each_time(after: Aftermath) -> None:
    """Time spent waiting for a core that other processes had is not counted: the machine may be busy with other tests."""
    assert max(start.own_s for start in after.starts) <= READY_S_MAX, after.told()


def test_the_storm_was_one(after: Aftermath) -> None:
    counts = after.ledger.count()

    assert after.kills >= FEW
    assert all(acknowledged > 0 for _, acknowledged in counts.values()), counts
