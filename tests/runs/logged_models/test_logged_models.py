"""Logged models, datasets, inputs and outputs: kept, searched, linked to runs, deleted and restored."""

import math
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.runs.experiments.types import ExperimentSpec
from sill.runs.logged_models.types import (
    Dataset,
    DatasetFilter,
    DatasetInput,
    DatasetSummary,
    LoggedModel,
    LoggedModelSpec,
    LoggedModelStatus,
    ModelOrder,
    ModelOutput,
)
from sill.runs.types import Batch, ExternalStart, Metric

pytestmark = pytest.mark.anyio


async def make(host: Any, ada: Actor, name: str = "", **fields: Any) -> LoggedModel:
    model: LoggedModel = await host.models.create(ada, "p", LoggedModelSpec(name=name, **fields))
    return model


def read(name: str, digest: str = "1", **tags: str) -> DatasetInput:
    dataset = Dataset(name=name, digest=digest, source_type="local", source="data.csv")
    return DatasetInput(dataset=dataset, tags=tags)


async def found(host: Any, ada: Actor, **query: Any) -> list[str]:
    page = await host.models.search(ada, "p", **{"experiment_ids": ["0"], **query})
    return [model.name for model in page.items]


async def test_a_model_is_kept_pending_and_then_ready(host: Any, ada: Actor) -> None:
    made = await make(host, ada, "fit", model_type="LLM", params={"a": "1"}, tags={"t": "x"}, run_id="123")
    ready = await host.models.finalize(ada, "p", made.id, LoggedModelStatus.READY)

    assert made.status is LoggedModelStatus.PENDING
    assert made.artifact_uri == f"mlflow-artifacts:/0/models/{made.id}/artifacts"
    assert (ready.status, ready.params, ready.tags, ready.model_type, ready.run_id) == (
        LoggedModelStatus.READY,
        {"a": "1"},
        {"t": "x"},
        "LLM",
        "123",
    )
    assert (await make(host, ada)).name  # one is made up


async def test_params_and_tags_are_set_again_and_tags_taken_away(host: Any, ada: Actor) -> None:
    made = await make(host, ada)
    await host.models.log_params(ada, "p", made.id, {"a": "1", "b": "2"})
    await host.models.log_params(ada, "p", made.id, {"a": "3"})
    await host.models.set_tags(ada, "p", made.id, {"x": "1", "y": "2"})
    after = await host.models.delete_tag(ada, "p", made.id, "x")

    assert (after.params, after.tags) == ({"a": "3", "b": "2"}, {"y": "2"})
    with pytest.raises(NotFound, match="No tag with key 'x'"):
        await host.models.delete_tag(ada, "p", made.id, "x")


async def test_a_deleted_model_is_not_found_and_comes_back(host: Any, ada: Actor) -> None:
    made = await make(host, ada, "fit")
    await host.models.delete(ada, "p", made.id)

    assert await found(host, ada) == []
    with pytest.raises(NotFound):
        await host.models.get(ada, "p", made.id)
    with pytest.raises(NotFound):
        await host.models.set_tags(ada, "p", made.id, {"a": "b"})
    assert (await host.models.get(ada, "p", made.id, allow_deleted=True)).deleted_us > 0
    await host.models.restore(ada, "p", made.id)
    assert await found(host, ada) == ["fit"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["c", "b", "a"]),
        ({"filter": "name = 'a'"}, ["a"]),
        ({"filter": "name IN ('a', 'b')"}, ["b", "a"]),
        ({"filter": "status = 'READY'"}, ["a"]),
        ({"filter": "metrics.auc > 0.8"}, ["b"]),
        ({"filter": "params.depth = '3' AND tags.team LIKE 'x%'"}, ["a"]),
        ({"filter": "creation_time > 0 AND model_type = 'tree'"}, ["c"]),
        ({"datasets": [DatasetFilter(name="test")]}, ["b", "a"]),
        ({"datasets": [DatasetFilter(name="test", digest="2")]}, ["b"]),
        ({"datasets": [DatasetFilter(name="nobody")]}, []),
        ({"order_by": [ModelOrder(field="name")]}, ["a", "b", "c"]),
        ({"order_by": [ModelOrder(field="metrics.auc", is_ascending=False)]}, ["b", "a", "c"]),
        ({"order_by": [ModelOrder(field="metrics.auc", dataset_name="test", dataset_digest="2")]}, ["b", "c", "a"]),
        ({"limit": 1}, ["c"]),
        ({"experiment_ids": ["5"]}, []),
    ],
)
async def test_search_knows_attributes_metrics_params_tags_and_datasets(
    host: Any, ada: Actor, query: Any, expected: list[str]
) -> None:
    first = await make(host, ada, "a", params={"depth": "3"}, tags={"team": "x1"})
    second = await make(host, ada, "b", params={"depth": "4"})
    await make(host, ada, "c", model_type="tree")
    await host.models.finalize(ada, "p", first.id, LoggedModelStatus.READY)
    run = await host.external.start(ada, "p", ExternalStart())
    points = (
        Metric(key="auc", value=0.7, model_id=first.id, dataset_name="test", dataset_digest="1", step=1),
        Metric(key="auc", value=0.9, model_id=second.id, dataset_name="test", dataset_digest="2", step=1),
        Metric(key="auc", value=math.nan, model_id=second.id, dataset_name="test", dataset_digest="2", step=0),
    )
    await host.tracking.log(ada, "p", run.id, Batch(metrics=points))

    assert await found(host, ada, **query) == expected


async def test_pages_follow_each_other(host: Any, ada: Actor) -> None:
    for name in "abc":
        await make(host, ada, name)
    first = await host.models.search(ada, "p", experiment_ids=["0"], limit=2)
    rest = await host.models.search(ada, "p", experiment_ids=["0"], limit=2, after=first.next)

    assert [model.name for model in (*first.items, *rest.items)] == ["c", "b", "a"]
    assert rest.next == ""


async def test_a_model_keeps_the_last_point_of_each_metric_run_and_dataset(host: Any, ada: Actor) -> None:
    made = await make(host, ada)
    run = await host.external.start(ada, "p", ExternalStart())
    points = tuple(Metric(key="loss", value=1 / (n + 1), step=n, model_id=made.id) for n in range(9))
    await host.tracking.log(ada, "p", run.id, Batch(metrics=points))
    await host.tracking.log(ada, "p", run.id, Batch(metrics=(Metric(key="loss", value=5, step=2, model_id=made.id),)))
    (metric,) = (await host.models.get(ada, "p", made.id)).metrics

    assert (metric.key, metric.step, metric.value, metric.run_id) == ("loss", 8, 1 / 9, run.id)


async def test_what_a_run_read_and_made_is_kept_once(host: Any, ada: Actor) -> None:
    run = await host.external.start(ada, "p", ExternalStart())
    model = await make(host, ada)
    train = read("d", **{"mlflow.data.context": "train"})
    await host.models.log_inputs(ada, "p", run.id, [train, read("d", "2")], [model.id])
    await host.models.log_inputs(ada, "p", run.id, [train, read("d", **{"mlflow.data.context": "other"})], [model.id])
    await host.models.log_outputs(ada, "p", run.id, [ModelOutput(model_id=model.id, step=4)])
    links = await host.models.links(ada, "p", run.id)

    assert links.inputs.datasets == (train, read("d", "2"))
    assert (links.inputs.models, links.outputs) == ((model.id,), (ModelOutput(model_id=model.id, step=4),))
    assert await host.models.datasets(ada, "p", ["0"]) == (
        DatasetSummary(experiment_id="0", name="d", digest="1", context="train"),
        DatasetSummary(experiment_id="0", name="d", digest="2"),
    )


@pytest.mark.parametrize(
    "each",
    [
        read("", "1"),
        read("d", ""),
        read("x" * 501),
        read("d", "x" * 37),
        read("d", key="x" * 501),
        read("a\0b"),
    ],
)
async def test_datasets_outside_their_limits_are_refused_with_all_the_others(
    host: Any, ada: Actor, each: DatasetInput
) -> None:
    run = await host.external.start(ada, "p", ExternalStart())
    with pytest.raises(InvalidValue):
        await host.models.log_inputs(ada, "p", run.id, [read("good"), each])

    assert (await host.models.links(ada, "p", run.id)).inputs.datasets == ()


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "100%", "'a'", "x" * 501])
async def test_names_with_characters_of_uris_are_refused(host: Any, ada: Actor, name: str) -> None:
    with pytest.raises(InvalidValue):
        await make(host, ada, name)


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "status = 'GREEN'"},
        {"filter": "nobody = 'x'"},
        {"order_by": [ModelOrder(field="params.x")]},
        {"order_by": [ModelOrder(field="doc")]},
        {"datasets": [DatasetFilter(name="")]},
        {"experiment_ids": []},
        {"after": "-1"},
        {"limit": 0},
    ],
)
async def test_searches_that_cannot_be_understood_are_refused(host: Any, ada: Actor, query: Any) -> None:
    with pytest.raises(InvalidValue):
        await found(host, ada, **query)


async def test_deleted_runs_and_experiments_take_nothing_new(host: Any, ada: Actor) -> None:
    made = await host.experiments.create(ada, "p", ExperimentSpec(name="old"))
    run = await host.external.start(ada, "p", ExternalStart(experiment_id=made.id))
    await host.retention.delete_experiment(ada, "p", made.id)

    with pytest.raises(InvalidValue, match="'active' state"):
        await make(host, ada, experiment_id=made.id)
    with pytest.raises(InvalidValue, match="'active' state"):
        await host.models.log_inputs(ada, "p", run.id, [read("d")])
    with pytest.raises(InvalidValue, match="'active' state"):
        await host.models.log_outputs(ada, "p", run.id, [ModelOutput(model_id="m-1")])


async def test_another_project_sees_nothing(host: Any, ada: Actor) -> None:
    made = await make(host, ada)
    reader = Actor(id="ron", scopes=frozenset({"runs:read"}))

    with pytest.raises(NotFound):
        await host.models.get(ada, "q", made.id)
    with pytest.raises(Forbidden):
        await host.models.set_tags(reader, "p", made.id, {"a": "b"})
