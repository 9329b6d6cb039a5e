"""A project is applied whole and again: what is declared is made so once, and what does not fit is refused before any of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sill.api.services import Services, build_services
from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Forbidden, InvalidValue, NotFound, SillError
from sill.core.settings import Settings
from sill.endpoints.types import EndpointSpec
from sill.features.types import FeatureView
from sill.lake.types import Between, TableSpec
from sill.monitors.types import MonitorSpec
from sill.projects.types import ApplyReport, ProjectSpec
from sill.runs.pipelines.types import PipelineSpec, StepSpec
from sill.runs.training.types import TrainingSpec
from sill.sources.types import IngestionSpec, Source
from sill.triggers.types import TriggerKind, TriggerSpec

pytestmark = pytest.mark.anyio
P: dict[str, Any] = {"project": "p"}
WHOLE = ProjectSpec(
    project="p",
    tables=(TableSpec(**P, name="people", key=("id",), rules=(Between(column="age", low=0, high=120),)),),
    ingestions=(
        IngestionSpec(**P, name="load", table="people", sources=(Source(url="https://a.example/x.csv"),), every="1h"),
    ),
    features=(FeatureView(**P, name="recent", entity=("id",), table="people"),),
    trainings=(TrainingSpec(**P, name="fit", function="fit", module="code", data="recent", label="y", model="m"),),
    pipelines=(PipelineSpec(**P, name="nightly", steps=(StepSpec(name="one", command=("true",)),), every="1d"),),
    endpoints=(EndpointSpec(**P, name="serve", model="m"),),
    monitors=(MonitorSpec(**P, name="serve", endpoint="serve"),),
    triggers=(TriggerSpec(**P, name="drifted", on=TriggerKind.DRIFT, source="serve", start="fit"),),
)
NAMES = ["people", "load", "recent", "fit", "nightly", "serve", "serve", "drifted", "load-ingestion-schedule"]
NAMES += ["nightly-pipeline-schedule"]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    made = await build_services(Settings(home=tmp_path / "home"), ManualClock())
    yield made
    made.close()


def changes(report: ApplyReport) -> set[str]:
    return {each.change for each in report.changes}


def but(**fields: Any) -> ProjectSpec:
    return msgspec.structs.replace(WHOLE, **fields)


async def test_everything_is_made_in_the_order_of_the_datas_way(services: Services) -> None:
    report = await services.projects.apply(PLATFORM, WHOLE)

    assert [each.name for each in report.changes] == NAMES
    assert changes(report) == {"created"}


async def test_applied_again_nothing_changes(services: Services) -> None:
    await services.projects.apply(PLATFORM, WHOLE)
    before = (await services.governance.verify_audit(PLATFORM)).head_seq

    report = await services.projects.apply(PLATFORM, WHOLE)

    assert changes(report) == {"unchanged"}
    assert (await services.governance.verify_audit(PLATFORM)).head_seq == before


async def test_one_change_is_one_change(services: Services) -> None:
    await services.projects.apply(PLATFORM, WHOLE)
    other = msgspec.structs.replace(WHOLE.features[0], ttl_s=0, sql="SELECT id, age FROM people")

    report = await services.projects.apply(PLATFORM, but(features=(other,)))

    assert [each.name for each in report.changes if each.change == "changed"] == ["recent"]
    assert changes(report) == {"unchanged", "changed"}


async def test_a_period_that_is_taken_back_starts_nothing_more(services: Services) -> None:
    await services.projects.apply(PLATFORM, WHOLE)
    by_hand = msgspec.structs.replace(WHOLE.pipelines[0], every="")

    await services.projects.apply(PLATFORM, but(pipelines=(by_hand,)))

    left = {each.name for each in await services.triggers.triggers(PLATFORM, "p")}
    assert "nightly-pipeline-schedule" not in left
    assert "load-ingestion-schedule" in left


WRONG: dict[str, ProjectSpec] = {
    "an ingestion of no table": but(ingestions=(msgspec.structs.replace(WHOLE.ingestions[0], table="nothing"),)),
    "a view of no table": but(features=(msgspec.structs.replace(WHOLE.features[0], table="nothing"),)),
    "a training of no view": but(trainings=(msgspec.structs.replace(WHOLE.trainings[0], data="nothing"),)),
    "feedback of no endpoint": but(trainings=(msgspec.structs.replace(WHOLE.trainings[0], feedback="nothing"),)),
    "a monitor of no endpoint": but(monitors=(msgspec.structs.replace(WHOLE.monitors[0], endpoint="nothing"),)),
    "a trigger that starts nothing": but(triggers=(msgspec.structs.replace(WHOLE.triggers[0], start="nothing"),)),
    "a trigger on no endpoint": but(triggers=(msgspec.structs.replace(WHOLE.triggers[0], source="nothing"),)),
    "a name twice": but(tables=WHOLE.tables * 2),
    "another project's table": but(tables=(msgspec.structs.replace(WHOLE.tables[0], project="q"),)),
    "a project without a name": but(project=""),
    "a period that is none": but(pipelines=(msgspec.structs.replace(WHOLE.pipelines[0], every="often"),)),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_what_does_not_fit_is_refused(services: Services, wrong: str) -> None:
    with pytest.raises((InvalidValue, NotFound)) as refused:
        await services.projects.apply(PLATFORM, WRONG[wrong])

    assert refused.value.message


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "a period that is none"])
async def test_what_does_not_fit_leaves_nothing(services: Services, wrong: str) -> None:
    with pytest.raises(SillError):
        await services.projects.apply(PLATFORM, WRONG[wrong])

    assert "p" not in {each.project for each in await services.governance.projects(PLATFORM)}


async def test_a_foreign_project_is_not_found_and_one_of_ones_own_needs_the_right(services: Services) -> None:
    stranger = Actor(id="s", scopes=frozenset({"*"}), projects=frozenset({"q"}))
    reader = Actor(id="r", scopes=frozenset({"projects:read"}), projects=frozenset({"p"}))

    with pytest.raises(NotFound):
        await services.projects.apply(stranger, WHOLE)
    with pytest.raises(Forbidden):
        await services.projects.apply(reader, WHOLE)


async def test_a_right_to_one_stage_does_not_reach_into_another(services: Services) -> None:
    await services.projects.apply(PLATFORM, ProjectSpec(project="p"))
    scopes = frozenset({"projects:write", "projects:read", "data:read", "data:write"})

    with pytest.raises(Forbidden, match="features"):
        await services.projects.apply(Actor(id="d", scopes=scopes, projects=frozenset({"p"})), WHOLE)
