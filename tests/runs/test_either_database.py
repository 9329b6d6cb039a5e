"""Experiments, logged models and their deletion, on SQLite and on PostgreSQL."""

import math
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.clock import ManualClock
from sill.core.errors import NotFound
from sill.runs.experiments.types import ExperimentSpec
from sill.runs.logged_models.types import Dataset, DatasetFilter, DatasetInput, LoggedModelSpec, ModelOrder
from sill.runs.types import Batch, ExternalStart, Lifecycle, Metric

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(tmp_path: Path, database_url: str) -> AsyncIterator[Any]:
    """A host on each kind of database, on a clock that stands still."""
    built = sys.modules["runs_host"].build(tmp_path / "home", ManualClock(), database_url)
    yield built
    built.database.close()


@pytest.mark.parametrize(
    ("filter", "order", "expected"),
    [
        ("name LIKE 'T_ne%' AND tags.team = 'x'", (), ["Tune 1"]),
        ("name ILIKE 'tune%'", ("name DESC",), ["tune 2", "Tune 1"]),
        ("tags.team IS NULL", ("experiment_id ASC",), ["Default", "tune 2"]),
        ("experiment_id IN ('1', '7')", (), ["Tune 1"]),
        ("creation_time >= 1700000000000", ("last_update_time DESC", "experiment_id"), ["Tune 1", "tune 2"]),
    ],
)
async def test_experiments_are_searched(
    host: Any, ada: Actor, filter: str, order: tuple[str, ...], expected: list[str]
) -> None:
    await host.experiments.create(ada, "p", ExperimentSpec(name="Tune 1", tags={"team": "x"}))
    await host.experiments.create(ada, "p", ExperimentSpec(name="tune 2"))
    page = await host.experiments.search(ada, "p", filter=filter, order_by=order)

    assert [one.name for one in page.items] == expected


async def test_logged_models_are_searched_by_what_was_measured(host: Any, ada: Actor) -> None:
    run = await host.external.start(ada, "p", ExternalStart())
    made = [
        await host.models.create(ada, "p", LoggedModelSpec(name=name, params={"n": name}, tags={"t": "A b"}))
        for name in "abc"
    ]
    points = tuple(
        Metric(key="auc", value=value, model_id=model.id, dataset_name="d", dataset_digest="1")
        for model, value in zip(made, (0.5, math.inf, math.nan), strict=True)
    )
    await host.tracking.log(ada, "p", run.id, Batch(metrics=points))

    async def names(**query: Any) -> list[str]:
        page = await host.models.search(ada, "p", experiment_ids=["0"], **query)
        return [model.name for model in page.items]

    by_auc = [ModelOrder(field="metrics.auc", is_ascending=False)]
    assert await names(order_by=by_auc) == ["b", "a", "c"]
    assert await names(filter="metrics.auc < 1 AND tags.t LIKE 'A%' AND params.n != 'c'") == ["a"]
    assert await names(datasets=[DatasetFilter(name="d", digest="1")], filter="name IN ('a', 'c')") == ["a", "c"]
    assert [str(one.value) for one in (await host.models.get(ada, "p", made[2].id)).metrics] == ["nan"]


async def test_an_experiment_goes_comes_back_and_is_erased(host: Any, ada: Actor) -> None:
    made = await host.experiments.create(ada, "p", ExperimentSpec(name="a"))
    run = await host.external.start(ada, "p", ExternalStart(experiment_id=made.id))
    dataset = Dataset(name="d", digest="1", source_type="local", source="x")
    await host.models.log_inputs(ada, "p", run.id, [DatasetInput(dataset=dataset)])
    await host.retention.delete_experiment(ada, "p", made.id)
    await host.retention.restore_experiment(ada, "p", made.id)
    assert (await host.runs.run(ada, "p", run.id)).lifecycle is Lifecycle.ACTIVE

    gone = await host.retention.delete_experiment(ada, "p", made.id, now=True)
    assert gone.runs == 1
    with pytest.raises(NotFound):
        await host.models.datasets(ada, "p", [made.id])
