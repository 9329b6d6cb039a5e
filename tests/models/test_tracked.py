"""The registry by MLflow's rules: models and versions named, tagged, staged, searched, copied, renamed and deleted."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, SillError
from sill.models.placing import Placing
from sill.models.registry import Registry
from sill.models.tracked import Tracked
from sill.models.types import PROMPT_TAG, AliasChange, ModelVersion, Stage, TrackedSpec, VersionState
from sill.stores.database import Tx
from sill.testing.platform import Platform, open_platform

pytestmark = pytest.mark.anyio
PROJECT = "default"
MLMODEL = b"flavors: {sklearn: {pickled_model: model.pkl, serialization_format: cloudpickle}}"


class Files:
    """Artifacts by path."""

    def __init__(self) -> None:
        self.kept = {"0/run-00000001/artifacts/model/MLmodel": MLMODEL}

    async def excerpt(self, project: str, path: str, bytes_max: int) -> bytes | None:
        return self.kept.get(path)

    async def digest(self, project: str, path: str) -> str:
        return "a" * 64 if path in self.kept else ""


class Logged:
    """Logged models by id."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, int]] = []

    async def origin(self, project: str, model_id: str) -> tuple[str, str]:
        if model_id != "m-1":
            raise NotFound(f"no logged model {model_id!r}.")
        return "mlflow-artifacts:/0/models/m-1/artifacts", "run-00000001"

    def note_version(self, tx: Tx, project: str, model_id: str, name: str, version: int) -> None:
        self.noted.append((model_id, name, version))


@pytest.fixture
def registry(platform: Platform) -> Registry:
    return Registry(platform.database, platform.models)


@pytest.fixture
def logged() -> Logged:
    return Logged()


@pytest.fixture
def tracked(platform: Platform, logged: Logged) -> Tracked:
    return Tracked(platform.database, platform.models, Placing(platform.database, Files(), logged), logged)


@pytest.fixture
def make(registry: Registry, tracked: Tracked, platform: Platform) -> Any:
    """A version of a model, which is made if it is not there."""

    async def version(model: str = "M", source: str = "runs:/run-00000001/model", **fields: Any) -> ModelVersion:
        with contextlib.suppress(Conflict):
            await registry.create(PLATFORM, PROJECT, model, tags=fields.pop("model_tags", {}))
        assert isinstance(platform.clock, ManualClock)
        platform.clock.advance(1)
        spec = TrackedSpec(model=model, source=source, **fields)
        return (await tracked.create(PLATFORM, PROJECT, spec)).version

    return version


async def test_versions_of_both_kinds_share_numbers_and_are_listed_together(
    platform: Platform, tracked: Tracked, make: Any
) -> None:
    await platform.models.register(PLATFORM, PROJECT, platform.spec())
    second = await make("churn")
    listed = await platform.models.versions(PLATFORM, PROJECT, "churn")
    found = await tracked.search(PLATFORM, PROJECT, filter="name = 'churn'", order_by=("version_number ASC",))

    assert [(one.version, one.state) for one in found.items] == [(1, VersionState.ACCEPTED), (2, VersionState.TRACKED)]
    assert [one.version for one in listed.items] == [2, 1]
    assert found.items[0].address == "mlflow-artifacts:/models/churn/1"
    assert second.version == 2


async def test_a_pickled_model_is_kept_marked_and_gives_no_files(platform: Platform, make: Any) -> None:
    version = await make()

    assert (version.loadable, version.flavors) == (False, ("sklearn",))
    assert "unpickled: sklearn" in version.loadable_reason
    with pytest.raises(NotFound):
        await platform.models.file(PLATFORM, PROJECT, "M", 1, "model.onnx")


async def test_what_cannot_be_seen_is_not_loadable(make: Any) -> None:
    for source in ("s3://bucket/model", "runs:/run-00000001/other", "mlflow-artifacts://elsewhere/x"):
        assert not (await make(source=source)).loadable


async def test_a_logged_model_brings_its_place_and_run(make: Any, logged: Logged) -> None:
    version = await make(source="models:/m-1", model_id="m-1")

    assert (version.storage, version.spec.run_id) == ("mlflow-artifacts:/0/models/m-1/artifacts", "run-00000001")
    assert logged.noted == [("m-1", "M", 1)]
    with pytest.raises(InvalidValue):
        await make(source="models:/m-2")


async def test_a_copy_leads_to_where_the_first_is_and_only_within_the_project(make: Any) -> None:
    first = await make()
    copy = await make("Copy", source="models:/M/1")

    assert (copy.source, copy.storage) == ("models:/M/1", first.source)
    for source in ("models:/M/2", "models:/Other/1", "models:/M@none"):
        with pytest.raises(InvalidValue):
            await make("Copy", source=source)


async def test_an_alias_moves_and_goes_with_its_version(tracked: Tracked, make: Any) -> None:
    await make()
    await make()
    await tracked.set_alias(PLATFORM, PROJECT, "M", "champion", 1)
    await tracked.set_alias(PLATFORM, PROJECT, "M", "champion", 2)
    found = await tracked.by_alias(PLATFORM, PROJECT, "M", "champion")

    assert (found.version.version, found.aliases) == (2, ("champion",))
    await tracked.delete(PLATFORM, PROJECT, "M", 2)
    with pytest.raises(InvalidValue, match="not found"):
        await tracked.by_alias(PLATFORM, PROJECT, "M", "champion")
    assert (await tracked.by_alias(PLATFORM, PROJECT, "M", "latest")).version.version == 1


async def test_of_two_promotions_at_once_with_the_same_expectation_one_wins(platform: Platform, make: Any) -> None:
    await make()
    await make()
    changes = [AliasChange(version=number, expected=0) for number in (1, 2)]
    done = await asyncio.gather(
        *(platform.models.set_alias(PLATFORM, PROJECT, "M", "best", change) for change in changes),
        return_exceptions=True,
    )

    assert sorted(type(one).__name__ for one in done) == ["Conflict", "RegisteredModel"]


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v3", "a b", "", "a/b", "x" * 256])
async def test_an_alias_that_reads_as_something_else_is_refused(tracked: Tracked, make: Any, alias: str) -> None:
    await make()
    with pytest.raises(InvalidValue):
        await tracked.set_alias(PLATFORM, PROJECT, "M", alias, 1)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", ".", "..", "a\nb", "a\\b", "x" * 257])
async def test_a_name_outside_the_grammar_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidValue):
        await registry.create(PLATFORM, PROJECT, name, tags={})


async def test_a_name_is_taken_once_and_never_by_a_prompt_and_a_model(registry: Registry) -> None:
    await registry.create(PLATFORM, PROJECT, "One", tags={})

    with pytest.raises(Conflict, match=r"Registered Model \(name=One\) already exists"):
        await registry.create(PLATFORM, PROJECT, "One", tags={})
    with pytest.raises(Conflict, match="already taken by a registered model"):
        await registry.create(PLATFORM, PROJECT, "One", tags={PROMPT_TAG: "true"})


async def test_prompts_are_found_only_by_those_who_ask(registry: Registry, tracked: Tracked, make: Any) -> None:
    await make("Model")
    await make("Greet", source="prompt-template", model_tags={PROMPT_TAG: "true"}, tags={PROMPT_TAG: "true"})
    asked = f"tags.`{PROMPT_TAG}` = 'true'"

    async def names(text: str) -> tuple[list[str], list[str]]:
        models = await registry.search(PLATFORM, PROJECT, filter=text)
        versions = await tracked.search(PLATFORM, PROJECT, filter=text)
        return [one.model.name for one in models.items], [one.model for one in versions.items]

    assert await names("") == (["Model"], ["Model"])
    assert await names(asked) == (["Greet"], ["Greet"])
    assert await names(f"{asked} AND name LIKE 'G%'") == (["Greet"], ["Greet"])
    assert await names(f"tags.`{PROMPT_TAG}` != 'true'") == (["Model"], ["Model"])


FILTERS = (
    ("name = 'B'", [3]),
    ("name LIKE 'a%'", [1, 2]),
    ("name LIKE 'A%'", []),
    ("name ILIKE 'A%'", [1, 2]),
    ("version_number > 1", [2]),
    ("run_id = 'r1' AND tags.team = 'x'", [1]),
    ("run_id IN ('r1', 'r2')", [1, 2]),
    ("source_path = 'runs:/r2/m'", [2]),
    ("tags.team ILIKE 'X%'", [1]),
    ("name = 'a_b'", []),
    ("name = 'a''; DROP TABLE models'", []),
)


async def test_filters_find_what_they_say_on_both_databases(tmp_path: Path, database_url: str) -> None:
    with open_platform(tmp_path, ManualClock(), database_url) as platform:
        tracked = Tracked(platform.database, platform.models, Placing(platform.database, Files(), Logged()), Logged())
        registry = Registry(platform.database, platform.models)
        for name in ("alpha", "B"):
            await registry.create(PLATFORM, PROJECT, name, tags={})
        specs = (
            TrackedSpec(model="alpha", source="runs:/r1/m", run_id="r1", tags={"team": "x"}),
            TrackedSpec(model="alpha", source="runs:/r2/m", run_id="r2"),
            TrackedSpec(model="B", source="s3://b/m"),
        )
        made = [(await tracked.create(PLATFORM, PROJECT, spec)).version.id for spec in specs]
        order = ("name DESC", "version_number ASC")
        found = {}
        for text, _ in FILTERS:
            page = await tracked.search(PLATFORM, PROJECT, filter=text, order_by=order)
            found[text] = sorted(made.index(one.id) + 1 for one in page.items)

    assert found == dict(FILTERS)


@pytest.mark.parametrize("text", ["name", "size = 3", "name > 'a'", "name IN ('a')", "run_id LIKE 1", "tags.x = 1"])
async def test_a_filter_outside_the_grammar_is_refused(tracked: Tracked, text: str) -> None:
    with pytest.raises(InvalidValue):
        await tracked.search(PLATFORM, PROJECT, filter=text)


async def test_pages_are_whole_and_in_order(registry: Registry) -> None:
    for number in range(7):
        await registry.create(PLATFORM, PROJECT, f"m{number}", tags={})
    names, after = [], ""
    while True:
        page = await registry.search(PLATFORM, PROJECT, limit=3, after=after, order_by=("name DESC",))
        names += [one.model.name for one in page.items]
        after = page.next
        if not after:
            break

    assert names == [f"m{number}" for number in reversed(range(7))]
    with pytest.raises(InvalidValue):
        await registry.search(PLATFORM, PROJECT, after="nonsense")


async def test_a_stage_is_one_of_four_and_archives_those_before(
    registry: Registry, tracked: Tracked, make: Any
) -> None:
    await make()
    await make()
    await tracked.set_stage(PLATFORM, PROJECT, "M", 1, "production")
    await tracked.set_stage(PLATFORM, PROJECT, "M", 2, "Production", archive=True)
    latest = await registry.latest(PLATFORM, PROJECT, "M", ())

    assert {one.stage: one.version for one in latest} == {Stage.ARCHIVED: 1, Stage.PRODUCTION: 2}
    for stage, archive in (("Nowhere", False), ("Archived", True)):
        with pytest.raises(InvalidValue):
            await tracked.set_stage(PLATFORM, PROJECT, "M", 1, stage, archive=archive)


async def test_tags_and_notes_change_without_a_trace_of_the_old(
    registry: Registry, tracked: Tracked, make: Any
) -> None:
    await make(tags={"a": "1"})
    await tracked.set_tag(PLATFORM, PROJECT, "M", 1, "b", "")
    await tracked.delete_tag(PLATFORM, PROJECT, "M", 1, "a")
    await tracked.describe(PLATFORM, PROJECT, "M", 1, "better")
    await registry.set_tag(PLATFORM, PROJECT, "M", "team", "x")
    await registry.describe(PLATFORM, PROJECT, "M", "all of it")

    version = (await tracked.get(PLATFORM, PROJECT, "M", 1)).version
    model = (await registry.get(PLATFORM, PROJECT, "M")).model
    assert (version.tags, version.note, model.tags, model.note) == ({"b": ""}, "better", {"team": "x"}, "all of it")


@pytest.mark.parametrize(
    ("key", "value"), [("", "x"), ("a\0", "x"), ("/a", "x"), ("a/../b", "x"), ("a", "x" * 100_001)]
)
async def test_a_tag_outside_its_limits_is_refused(tracked: Tracked, make: Any, key: str, value: str) -> None:
    await make()
    with pytest.raises(InvalidValue):
        await tracked.set_tag(PLATFORM, PROJECT, "M", 1, key, value)


async def test_a_renamed_model_takes_its_versions_aliases_and_numbers_along(
    registry: Registry, tracked: Tracked, make: Any
) -> None:
    await make(tags={"a": "1"})
    await tracked.set_alias(PLATFORM, PROJECT, "M", "best", 1)
    await make("Taken")
    await registry.rename(PLATFORM, PROJECT, "M", "New Name")
    again = await make("New Name")

    assert again.version == 2
    assert (await tracked.by_alias(PLATFORM, PROJECT, "New Name", "best")).version.tags == {"a": "1"}
    assert [one.model for one in (await tracked.search(PLATFORM, PROJECT, filter="tags.a = '1'")).items] == ["New Name"]
    with pytest.raises(NotFound):
        await tracked.get(PLATFORM, PROJECT, "M", 1)
    with pytest.raises(Conflict):
        await registry.rename(PLATFORM, PROJECT, "New Name", "Taken")


async def test_a_deleted_model_takes_all_with_it_unless_something_serves_it(
    platform: Platform, registry: Registry, tracked: Tracked, make: Any
) -> None:
    await make()
    held: list[str] = ["endpoint 'e'"]
    platform.models.on_delete(lambda *_: held[0])
    with pytest.raises(Conflict, match="endpoint 'e'"):
        await registry.delete(PLATFORM, PROJECT, "M")
    with pytest.raises(Conflict, match="endpoint 'e'"):
        await registry.rename(PLATFORM, PROJECT, "M", "N")
    held[0] = ""
    await registry.delete(PLATFORM, PROJECT, "M")

    assert (await tracked.search(PLATFORM, PROJECT)).items == ()
    assert (await make()).version == 1


async def test_a_version_behind_a_gate_is_deleted_by_an_admin_only(
    platform: Platform, registry: Registry, tracked: Tracked
) -> None:
    await platform.models.register(PLATFORM, PROJECT, platform.spec())
    developer = Actor(id="dev", scopes=frozenset({"models:read", "models:write"}))

    for attempt in (tracked.delete(developer, PROJECT, "churn", 1), registry.delete(developer, PROJECT, "churn")):
        with pytest.raises(Forbidden):
            await attempt
    assert (await tracked.delete(PLATFORM, PROJECT, "churn", 1)).blobs > 0


async def test_a_tracked_champion_is_nobodys_incumbent(platform: Platform, tracked: Tracked, make: Any) -> None:
    await make("churn")
    await tracked.set_alias(PLATFORM, PROJECT, "churn", "champion", 1)
    gated = await platform.models.register(PLATFORM, PROJECT, platform.spec())

    assert gated.state is VersionState.ACCEPTED
    newest = await platform.database.read(lambda c: platform.models.newest_in(c, PROJECT, "churn"))
    assert newest == (2, 0)


async def test_a_repeated_request_makes_one(tracked: Tracked, make: Any) -> None:
    await make()
    spec = TrackedSpec(model="M", source="runs:/run-00000001/model")
    first = await tracked.create(PLATFORM, PROJECT, spec, key="k")

    assert await tracked.create(PLATFORM, PROJECT, spec, key="k") == first


async def test_another_tenant_sees_and_changes_nothing(registry: Registry, tracked: Tracked, make: Any) -> None:
    await make()
    eve = Actor(id="eve", scopes=frozenset({"*"}), projects=frozenset({"other"}))
    attempts = (
        registry.get(eve, PROJECT, "M"),
        tracked.get(eve, PROJECT, "M", 1),
        tracked.delete(eve, PROJECT, "M", 1),
        tracked.set_alias(eve, PROJECT, "M", "a", 1),
        registry.rename(eve, PROJECT, "M", "N"),
        tracked.search(eve, PROJECT),
        tracked.create(eve, "other", TrackedSpec(model="M", source="models:/M/1")),
    )

    for attempt in attempts:
        with pytest.raises(SillError) as refused:
            await attempt
        assert refused.value.code in ("not_found", "invalid_value")
