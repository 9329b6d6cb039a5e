"""Experiments: names, ids, tags, where artifacts may lie, search, and that runs of ours make them by name."""

from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, Refused
from sill.runs.experiments.rules import check_location
from sill.runs.experiments.types import Experiment, ExperimentSpec
from sill.runs.types import Lifecycle, View

pytestmark = pytest.mark.anyio
ROOTS = "s3://bucket/runs, /shared/runs"


async def make(host: Any, ada: Actor, *names: str) -> list[Experiment]:
    return [await host.experiments.create(ada, "p", ExperimentSpec(name=name)) for name in names]


async def names(host: Any, ada: Actor, **query: Any) -> list[str]:
    page = await host.experiments.search(ada, "p", **query)
    return [one.name for one in page.items]


async def test_the_default_experiment_is_there_from_the_first_look_on(host: Any, ada: Actor) -> None:
    found = await host.experiments.get(ada, "p", "0")

    assert (found.name, found.artifact_location) == ("Default", "mlflow-artifacts:/0")
    assert (await host.experiments.by_name(ada, "p", "Default")).id == "0"
    assert await names(host, ada) == ["Default"]


async def test_ids_count_up_in_each_project_and_never_come_back(host: Any, ada: Actor) -> None:
    first, second = await make(host, ada, "a", "b")
    other = await host.experiments.create(ada, "q", ExperimentSpec(name="a"))
    await host.retention.delete_experiment(ada, "p", second.id, now=True)
    third = (await make(host, ada, "c"))[0]

    assert (first.id, second.id, other.id, third.id) == ("1", "2", "1", "3")
    with pytest.raises(NotFound, match="No Experiment with id=2"):
        await host.experiments.get(ada, "p", "2")


async def test_a_name_is_taken_even_by_a_deleted_experiment(host: Any, ada: Actor) -> None:
    (made,) = await make(host, ada, "a")
    with pytest.raises(Conflict, match="already exists"):
        await make(host, ada, "a")
    await host.retention.delete_experiment(ada, "p", made.id)

    with pytest.raises(Conflict, match="in deleted state"):
        await make(host, ada, "a")
    with pytest.raises(Conflict, match="already exists"):
        await make(host, ada, "Default")


@pytest.mark.parametrize("name", ["", "  ", "x" * 501, "a\0b"])
async def test_names_that_are_blank_long_or_hold_nul_are_refused(host: Any, ada: Actor, name: str) -> None:
    with pytest.raises(InvalidValue, match="experiment name"):
        await make(host, ada, name)


async def test_the_same_key_makes_one_experiment(host: Any, ada: Actor) -> None:
    spec = ExperimentSpec(name="a", tags={"k": "v"})
    first = await host.experiments.create(ada, "p", spec, key="k1")

    assert await host.experiments.create(ada, "p", spec, key="k1") == first


async def test_renaming_keeps_names_apart_and_refuses_what_was_deleted(host: Any, ada: Actor) -> None:
    first, second = await make(host, ada, "a", "b")
    renamed = await host.experiments.rename(ada, "p", first.id, "c")
    with pytest.raises(Conflict):
        await host.experiments.rename(ada, "p", second.id, "c")
    await host.retention.delete_experiment(ada, "p", second.id)

    assert (renamed.name, renamed.revision) == ("c", 2)
    with pytest.raises(Refused, match="non-active"):
        await host.experiments.rename(ada, "p", second.id, "d")


async def test_tags_are_set_changed_and_taken_away(host: Any, ada: Actor) -> None:
    (made,) = await make(host, ada, "a")
    await host.experiments.set_tags(ada, "p", made.id, {"one": "1", "two": "2"})
    await host.experiments.set_tags(ada, "p", made.id, {"two": "zwei"})
    left = await host.experiments.delete_tag(ada, "p", made.id, "one")

    assert left.tags == {"two": "zwei"}
    with pytest.raises(NotFound, match="No tag with name: one"):
        await host.experiments.delete_tag(ada, "p", made.id, "one")
    with pytest.raises(InvalidValue, match="20000"):
        await host.experiments.set_tags(ada, "p", made.id, {"long": "x" * 20_001})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["Abc", "def", "Default"]),
        ({"filter": "name LIKE 'A%'"}, ["Abc"]),
        ({"filter": "name LIKE 'a%'"}, []),
        ({"filter": "attribute.name ILIKE 'A%'"}, ["Abc"]),
        ({"filter": "tags.team = 'x'"}, ["def"]),
        ({"filter": "tags.team != 'x'"}, []),
        ({"filter": "tags.team IS NULL AND name != 'Default'"}, ["Abc"]),
        ({"filter": "experiment_id IN ('1', '2')"}, ["Abc", "def"]),
        ({"filter": "creation_time > 0", "order_by": ["name ASC"]}, ["Abc", "Default", "def"]),
        ({"order_by": ["experiment_id DESC"]}, ["Abc", "def", "Default"]),
        ({"view": View.DELETED}, ["gone"]),
        ({"view": View.ALL, "order_by": ["creation_time"]}, ["Default", "def", "Abc", "gone"]),
    ],
)
async def test_search_knows_names_times_and_tags(host: Any, ada: Actor, query: Any, expected: list[str]) -> None:
    first, _, gone = await make(host, ada, "def", "Abc", "gone")
    await host.experiments.set_tags(ada, "p", first.id, {"team": "x"})
    await host.retention.delete_experiment(ada, "p", gone.id)

    assert await names(host, ada, **query) == expected


async def test_pages_follow_each_other(host: Any, ada: Actor) -> None:
    await make(host, ada, *"abcde")
    first = await host.experiments.search(ada, "p", limit=4)
    rest = await host.experiments.search(ada, "p", limit=4, after=first.next)

    assert [one.name for one in (*first.items, *rest.items)] == ["e", "d", "c", "b", "a", "Default"]
    assert rest.next == ""
    with pytest.raises(InvalidValue, match="page token"):
        await host.experiments.search(ada, "p", after="; drop table")


@pytest.mark.parametrize("text", ["name = Abc", "nobody = 'x'", "name", "params.x = '1'", "name = 'a' OR name = 'b'"])
async def test_filters_that_cannot_be_understood_are_refused(host: Any, ada: Actor, text: str) -> None:
    with pytest.raises(InvalidValue):
        await host.experiments.search(ada, "p", filter=text)


async def test_another_projects_experiments_are_not_seen(host: Any, ada: Actor) -> None:
    (made,) = await make(host, ada, "secret")
    eve = Actor(id="eve", scopes=frozenset({"*"}), projects=frozenset({"q"}))

    with pytest.raises(NotFound):
        await host.experiments.get(eve, "p", made.id)
    with pytest.raises(NotFound):
        await host.experiments.get(eve, "q", made.id)
    reader = Actor(id="ron", scopes=frozenset({"runs:read"}))
    with pytest.raises(Forbidden):
        await host.experiments.create(reader, "p", ExperimentSpec(name="x"))


async def test_runs_of_ours_make_their_experiment_by_name(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program(experiment="tuning"))
    plain = await host.runs.submit(ada, "p", program())
    again = await host.runs.submit(ada, "p", program(experiment="tuning"))

    assert (run.experiment_id, plain.experiment_id, again.experiment_id) == ("1", "0", "1")
    assert run.artifact_uri == f"mlflow-artifacts:/1/{run.id}/artifacts"
    assert (await host.experiments.by_name(ada, "p", "tuning")).lifecycle is Lifecycle.ACTIVE


async def test_runs_of_ours_are_refused_by_a_deleted_experiment(host: Any, ada: Actor, program: Any) -> None:
    (made,) = await make(host, ada, "old")
    await host.retention.delete_experiment(ada, "p", made.id)

    with pytest.raises(InvalidValue, match="must be in the 'active' state"):
        await host.runs.submit(ada, "p", program(experiment="old"))


@pytest.mark.parametrize(
    "location",
    [
        "mlflow-artifacts:/team/a",
        "s3://bucket/runs/x",
        "s3://bucket/runs",
        "/shared/runs/me",
        "file:///shared/runs/me",
    ],
)
def test_artifacts_may_lie_here_and_where_the_operator_listed(location: str) -> None:
    assert check_location(location, ROOTS) == location


@pytest.mark.parametrize(
    "location",
    [
        "http:///#/../../etc",
        "file:///shared/runs/../../etc",
        "mlflow-artifacts:/../other",
        "s3://bucket/runs/%2e%2e/x",
        "s3://bucket/runs;x/y",
        "s3://bucket/runs?x",
        "/shared/runs/a\\..\\b",
        "mlflow-artifacts:/a//b",
        "x" * 3_000,
    ],
)
def test_locations_that_climb_or_can_be_read_in_two_ways_are_invalid(location: str) -> None:
    with pytest.raises(InvalidValue):
        check_location(location, ROOTS)


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc",
        "/etc",
        "shared/runs/x",
        "file://shared/runs/x",
        "s3://other/runs",
        "s3://bucket/runsmore",
        "http://evil.example/x",
        "mlflow-artifacts://evil.example/x",
    ],
)
def test_places_the_operator_did_not_list_are_forbidden(location: str) -> None:
    with pytest.raises(Forbidden, match="operator"):
        check_location(location, ROOTS)


def test_without_a_list_only_this_server_keeps_artifacts() -> None:
    with pytest.raises(Forbidden):
        check_location("s3://bucket/runs", "")
