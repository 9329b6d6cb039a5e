"""Tracking as a service: what may be read and written, by whom, and that nothing is kept of what is refused."""

import math
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.runs.logged_models.types import LoggedModelSpec
from sill.runs.types import Batch, ExternalStart, Metric, Run, View

pytestmark = pytest.mark.anyio

NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
async def run(host: Any, ada: Actor) -> Run:
    return await host.external.start(ada, "p", ExternalStart(name="one", start_us=1))  # type: ignore[no-any-return]


async def log(host: Any, ada: Actor, run: Run, *metrics: Metric, **texts: Any) -> None:
    await host.tracking.log(ada, "p", run.id, Batch(metrics=metrics, **texts))


async def test_nan_and_infinities_are_kept_as_they_are(host: Any, ada: Actor, run: Run) -> None:
    values = (NAN, INFINITY, -INFINITY, -0.0, 5e-324)
    await log(host, ada, run, *(Metric(key="m", value=value, step=step) for step, value in enumerate(values)))
    points = (await host.tracking.history(ada, "p", run.id, "m")).items

    assert [math.copysign(1, point.value) for point in points[1:]] == [1, -1, -1, 1]
    assert [str(point.value) for point in points] == ["nan", "inf", "-inf", "-0.0", "5e-324"]


async def test_steps_and_times_are_not_clamped(host: Any, ada: Actor, run: Run) -> None:
    ends = (2**63 - 1, -(2**63))
    await log(host, ada, run, *(Metric(key="m", value=1, step=step, timestamp_ms=2**63 - 1) for step in ends))
    await log(host, ada, run, Metric(key="m", value=1, step=0, timestamp_ms=0))

    points = (await host.tracking.history(ada, "p", run.id, "m")).items
    assert [(point.timestamp_ms, point.step) for point in points] == [
        (0, 0),
        (2**63 - 1, ends[1]),
        (2**63 - 1, ends[0]),
    ]


async def test_a_point_without_a_time_gets_that_of_its_arrival(host: Any, ada: Actor, run: Run) -> None:
    await log(host, ada, run, Metric(key="m", value=1))
    (state,) = await host.tracking.states(ada, "p", run.id)

    assert state.last.timestamp_ms > 1_600_000_000_000
    assert state.logged == 1


async def test_a_record_holds_all_that_was_logged(host: Any, ada: Actor, run: Run) -> None:
    await log(
        host, ada, run, Metric(key="m", value=2, step=1), Metric(key="m", value=1), params={"a": "1"}, tags={"t": "x"}
    )
    record = await host.tracking.record(ada, "p", run.id)
    (found,) = (await host.tracking.search(ada, "p", filter="params.a = '1' and metrics.m > 1")).items

    assert found == record
    assert (record.metrics[0].value, record.params, record.tags["t"]) == (2.0, {"a": "1"}, "x")


async def test_a_tag_that_names_the_run_renames_it(host: Any, ada: Actor, run: Run) -> None:
    await host.tracking.set_tag(ada, "p", run.id, "mlflow.runName", "two")

    assert (await host.tracking.record(ada, "p", run.id)).run.name == "two"
    assert len((await host.tracking.search(ada, "p", filter="run_name = 'two'")).items) == 1


async def test_a_tag_is_taken_away_once(host: Any, ada: Actor, run: Run) -> None:
    await host.tracking.set_tag(ada, "p", run.id, "t", "x")
    await host.tracking.delete_tag(ada, "p", run.id, "t")

    assert "t" not in (await host.tracking.data(ada, "p", run.id)).tags
    with pytest.raises(NotFound):
        await host.tracking.delete_tag(ada, "p", run.id, "t")


async def test_a_point_measured_of_a_model_is_the_models_too(host: Any, ada: Actor, run: Run) -> None:
    model = await host.models.create(ada, "p", LoggedModelSpec(name="m", run_id=run.id))
    await log(
        host, ada, run, Metric(key="auc", value=0.9, model_id=model.id, dataset_name="d"), Metric(key="auc", value=1)
    )

    (measured,) = (await host.models.get(ada, "p", model.id)).metrics
    assert (measured.key, measured.value, measured.dataset_name, measured.run_id) == ("auc", 0.9, "d", run.id)
    assert len((await host.tracking.history(ada, "p", run.id, "auc")).items) == 2


async def test_a_deleted_run_takes_no_more(host: Any, ada: Actor, run: Run) -> None:
    await host.external.delete(ada, "p", run.id)
    with pytest.raises(InvalidValue, match="must be in the 'active' state"):
        await log(host, ada, run, Metric(key="m", value=1))

    assert (await host.tracking.search(ada, "p")).items == ()
    assert len((await host.tracking.search(ada, "p", view=View.DELETED)).items) == 1


async def test_an_unknown_run_is_not_there_for_anything(host: Any, ada: Actor) -> None:
    nobody = "run-00000000"
    for ask in (host.tracking.record, host.tracking.data, host.tracking.states):
        with pytest.raises(NotFound):
            await ask(ada, "p", nobody)
    with pytest.raises(NotFound):
        await host.tracking.history_sampled(ada, "p", [nobody], "m")
    assert await host.tracking.history_bulk(ada, "p", [nobody], "m") == ()


async def test_a_reader_only_reads_and_a_stranger_does_nothing(host: Any, ada: Actor, run: Run) -> None:
    reader = Actor(id="r", scopes=frozenset({"runs:read"}), projects=frozenset({"p"}))
    stranger = Actor(id="s", scopes=frozenset({"*"}), projects=frozenset({"q"}))

    assert (await host.tracking.record(reader, "p", run.id)).run.id == run.id
    with pytest.raises(Forbidden):
        await host.tracking.log(reader, "p", run.id, Batch())
    for ask in (host.tracking.search(stranger, "p"), host.tracking.history(stranger, "p", run.id, "m")):
        with pytest.raises((Forbidden, NotFound)):
            await ask


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": 50_001},
        {"after": "x"},
        {"filter": "metrics.m"},
        {"order_by": ("m",)},
    ],
)
async def test_a_search_that_is_none_is_refused(host: Any, ada: Actor, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        await host.tracking.search(ada, "p", **asked)


@pytest.mark.parametrize(
    "asked", [{"points": 0}, {"points": 2_501}, {"start_step": 1}, {"start_step": 2, "end_step": 1}]
)
async def test_a_sample_that_is_none_is_refused(host: Any, ada: Actor, run: Run, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        await host.tracking.history_sampled(ada, "p", [run.id], "m", **asked)
