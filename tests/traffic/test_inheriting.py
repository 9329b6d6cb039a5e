"""A serving process that starts with what another one keeps: never with an older plan, and no file twice on the disk."""

from pathlib import Path

from sill.endpoints.types import ServingPlan
from sill.traffic.following import BUNDLES, PLAN_FILE, read_plan, write_plan
from sill.traffic.inheriting import inherit

DIGEST = "ab" * 32


def folder_with(place: Path, revision: int) -> Path:
    (place / BUNDLES).mkdir(parents=True)
    (place / BUNDLES / DIGEST).write_bytes(b"weights")
    write_plan(place / PLAN_FILE, ServingPlan(revision=revision, public_key="", endpoints=(), tokens=()))
    return place


def test_the_heir_has_the_plan_and_the_same_bundles(tmp_path: Path) -> None:
    other = folder_with(tmp_path / "replica-1", 7)
    for _ in range(2):
        assert inherit(tmp_path / "replica-3", other)

    plan = read_plan(tmp_path / "replica-3" / PLAN_FILE)
    assert plan is not None
    assert plan.revision == 7
    assert (tmp_path / "replica-3" / BUNDLES / DIGEST).samefile(other / BUNDLES / DIGEST)


def test_a_plan_of_an_earlier_bearer_of_the_name_is_gone(tmp_path: Path) -> None:
    heir = folder_with(tmp_path / "replica-3", 2)

    assert inherit(heir, folder_with(tmp_path / "replica-1", 7))
    assert getattr(read_plan(heir / PLAN_FILE), "revision", None) == 7
    assert not inherit(heir, tmp_path / "replica-2")
    assert read_plan(heir / PLAN_FILE) is None
