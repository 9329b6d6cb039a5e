"""Rows, labels, sums and explanations, over the real lake, registry and database."""

import sys
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.endpoints.types import EndpointSpec, RevisionState, Rollout
from sill.features.types import FeatureView
from sill.lake.service import LIBRARIES
from sill.runs.types import InlineRun, Provenance, RunSpec, RunState, RunUpdate
from sill.testing.platform import against
from sill.traffic.types import Label, LabelBatch, RevisionStats, ServingReport
from sill.traffic.workers import RolloutWorker

PROJECT = "default"


def labels(**given: str) -> LabelBatch:
    return LabelBatch(
        labels=tuple(Label(request_id=name.replace("_", "-"), label=label) for name, label in given.items())
    )


async def table(house: Any, name: str) -> Any:
    return await house.lake.scan(PLATFORM, PROJECT, name)


async def live(house: Any) -> RevisionStats:
    (only,) = [one for one in await house.traffic.stats(PLATFORM, PROJECT, "churn") if one.id.endswith("/live")]
    return only


@pytest.mark.anyio
async def test_a_batch_becomes_lake_rows_sums_cost_and_an_event(house: Any) -> None:
    await house.serve()

    assert await house.record("seg-1", house.row(1), house.row(2, status=422, error="refused: no")) == 2

    rows = (await table(house, "requests_churn")).to_pylist()
    assert [row["request_id"] for row in rows] == ["req-1", "req-2"]
    assert rows[0]["f_age"] == 41.0
    stats = await live(house)
    assert (stats.requests, stats.errors, sum(stats.latency_counts), stats.cpu_ms) == (2, 1, 2, 1.0)
    (event,) = await house.platform.log.after(0, kinds=("traffic.recorded",))
    assert event.data == {"endpoint": "churn", "rows": 2}
    assert (await house.costs.report(PLATFORM, PROJECT)).predictions == 2


@pytest.mark.anyio
async def test_what_rows_need_is_loaded_before_them_once_something_is_deployed(house: Any) -> None:
    assert not await house.traffic.prepare()
    await house.serve()

    assert await house.traffic.prepare()
    assert set(LIBRARIES) <= sys.modules.keys()


@pytest.mark.anyio
async def test_a_batch_that_comes_again_changes_nothing(house: Any) -> None:
    await house.serve()
    for _ in range(3):
        assert await house.record("seg-1", house.row(1), house.row(2)) == 2

    assert (await table(house, "requests_churn")).num_rows == 2
    assert (await live(house)).requests == 2
    assert len(await house.traffic.requests(PLATFORM, PROJECT, "churn")) == 2


@pytest.mark.anyio
async def test_rows_of_an_endpoint_that_is_gone_are_let_go(house: Any) -> None:
    assert await house.record("seg-1", house.row(1)) == 0


@pytest.mark.anyio
async def test_a_feature_whose_type_changed_is_kept_as_json(house: Any) -> None:
    await house.serve()
    await house.record("seg-1", house.row(1))
    await house.record("seg-2", house.row(2, features={"age": "forty", "income": 1.0}))

    rows = (await table(house, "requests_churn")).to_pylist()
    assert len(rows) == 2


@pytest.mark.anyio
async def test_what_is_not_sampled_is_counted_but_not_kept(house: Any) -> None:
    await house.serve()
    await house.record("seg-1", house.row(1), house.row(2, is_kept=False, features={}))

    assert (await live(house)).requests == 2
    assert (await table(house, "requests_churn")).num_rows == 1


@pytest.mark.anyio
async def test_labels_join_their_requests_and_repeats_and_strangers_are_counted(house: Any) -> None:
    await house.serve()
    await house.record("seg-1", house.row(1), house.row(2), house.row(3))

    first = await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="yes", req_2="no", req_9="no"))
    again = await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="no", req_3="yes"))

    assert (first.joined, first.unknown, first.repeated) == (2, 1, 0)
    assert (again.joined, again.unknown, again.repeated) == (1, 0, 1)
    assert await house.traffic.quality_since(PROJECT, "churn", 1) == (3, 2)
    assert (await table(house, "labels_churn")).num_rows == 5


@pytest.mark.anyio
async def test_a_label_call_with_the_same_key_counts_once(house: Any) -> None:
    await house.serve()
    await house.record("seg-1", house.row(1))
    reports = []
    for _ in range(2):
        reports.append(await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="yes"), key="k"))
        house.clock.advance(1.0)  # a repeat comes later, and is the same all the same

    assert reports[0] == reports[1]
    assert (await live(house)).labelled == 1


@pytest.mark.anyio
async def test_labels_are_in_the_lake_and_joined_or_neither(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.serve()
    await house.record("seg-1", house.row(1))

    def fail(*_given: Any) -> None:
        raise LookupError("killed before the commit")

    with monkeypatch.context() as patched:
        patched.setattr("sill.traffic.store.set_label", fail)
        with pytest.raises(LookupError):
            await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="yes"), key="k")

    assert (await house.lake.table(PLATFORM, PROJECT, "labels_churn")).rows == 0
    assert (await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="yes"), key="k")).joined == 1


@pytest.mark.anyio
async def test_one_batch_may_hold_rows_of_several_endpoints(house: Any) -> None:
    await house.serve()
    await house.endpoints.apply(PLATFORM, EndpointSpec(project=PROJECT, name="other", model="churn"))
    await house.settle()

    assert await house.record("seg-1", house.row(1), house.row(2, endpoint="other")) == 2
    assert (await house.lake.table(PLATFORM, PROJECT, "requests_other")).rows == 1


@pytest.mark.anyio
async def test_labels_of_shadow_answers_count_for_the_shadow(house: Any) -> None:
    await house.serve()
    await house.register(evaluation=against(1, 0.02))
    await house.settle()
    shadow = house.row(1, revision=2, is_shadow=True, prediction="no", agrees=False)
    await house.record("seg-1", house.row(1), shadow)
    await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="no"))

    sums = {
        one.id: (one.labelled, one.correct, one.disagreed)
        for one in await house.traffic.stats(PLATFORM, PROJECT, "churn")
    }
    assert sums == {"churn/1/live": (1, 0, 0), "churn/2/shadow": (1, 1, 1)}


@pytest.mark.anyio
async def test_feedback_is_features_entity_and_last_label_of_live_requests(house: Any) -> None:
    await house.serve()
    assert (await house.traffic.feedback(PLATFORM, PROJECT, "churn")).num_rows == 0
    shadow = house.row(1, is_shadow=True, agrees=True)
    await house.record("seg-1", house.row(1, entity={"customer_id": "8"}), house.row(2), shadow)
    await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1="no"))

    (row,) = (await house.traffic.feedback(PLATFORM, PROJECT, "churn", "churned")).to_pylist()

    assert row.pop("at_us") > 0
    assert row == {"request_id": "req-1", "customer_id": "8", "age": 41.0, "income": 1_000.0, "churned": "no"}


@pytest.mark.anyio
async def test_monitors_read_live_rows_in_order_and_never_twice(house: Any) -> None:
    await house.serve()
    await house.record("seg-1", *(house.row(n) for n in range(5)), house.row(9, is_shadow=True))
    first, place = await house.traffic.rows_after(PROJECT, "churn", 0, 3)
    second, place = await house.traffic.rows_after(PROJECT, "churn", place, 3)
    third, same = await house.traffic.rows_after(PROJECT, "churn", place, 3)

    assert [row.request_id for row in (*first, *second)] == [f"req-{n}" for n in range(5)]
    assert (third, same) == ([], place)


async def judge_all(house: Any) -> list[tuple[str, int]]:
    worker = RolloutWorker(house.platform.log, house.traffic)
    for event in await house.platform.log.after(0, kinds=("traffic.recorded", "labels.added")):
        await worker.handle(event)
    endpoint = await house.endpoints.endpoint(PLATFORM, PROJECT, "churn")
    return [(one.state.value, one.weight_max) for one in endpoint.revisions]


@pytest.mark.anyio
async def test_a_good_version_passes_shadow_and_canary_and_goes_live(house: Any) -> None:
    await house.serve()
    await house.register(evaluation=against(1, 0.02))
    await house.settle()
    await house.record("seg-1", *(house.row(n, revision=2, is_shadow=True, agrees=True) for n in range(10)))
    assert await judge_all(house) == [("live", 100), ("canary", 10)]

    await house.record("seg-2", *(house.row(n, revision=2) for n in range(10, 20)))

    assert await judge_all(house) == [("retired", 100), ("live", 100)]


@pytest.mark.anyio
async def test_a_worse_version_is_stopped_in_shadow_before_it_gets_any_traffic(house: Any) -> None:
    await house.serve()
    await house.register(evaluation=against(1, 0.02))
    await house.settle()
    await house.record("seg-1", *(house.row(n, revision=2, is_shadow=True, agrees=False) for n in range(10)))

    assert await judge_all(house) == [("live", 100), ("rejected", 0)]
    endpoint = await house.endpoints.endpoint(PLATFORM, PROJECT, "churn")
    assert "differ" in endpoint.revisions[1].reason


@pytest.mark.anyio
async def test_why_a_rollout_waits_can_be_asked(house: Any) -> None:
    await house.serve()
    await house.register(evaluation=against(1, 0.02))
    await house.settle()

    decision = await house.traffic.rollout(PLATFORM, PROJECT, "churn")

    assert decision.reason == "0 of 10 requests answered in shadow."


@pytest.mark.anyio
async def test_a_revision_the_inference_plane_cannot_load_is_rejected(house: Any) -> None:
    await house.serve(Rollout(shadow_requests=0, steps=(10, 100)))
    await house.register(evaluation=against(1, 0.02))
    await house.settle()
    await house.traffic.report(PLATFORM, ServingReport(project=PROJECT, endpoint="churn", revision=2, error="damaged"))

    endpoint = await house.endpoints.endpoint(PLATFORM, PROJECT, "churn")
    assert endpoint.revisions[1].state is RevisionState.REJECTED
    assert "could not load it: damaged" in endpoint.revisions[1].reason


@pytest.mark.anyio
async def test_an_answer_leads_back_to_its_source_rows(house: Any) -> None:
    import pyarrow as pa

    source = pa.table({"customer_id": [7, 8], "age": [30.0, 40.0], "income": [1.0, 2.0]})
    report = await house.lake.append(PLATFORM, PROJECT, "customers", source, source="upload://" + "ab" * 32 + "/c.csv")
    view = FeatureView(project=PROJECT, name="recent", entity=("customer_id",), table="customers")
    await house.features.declare(PLATFORM, view)
    inline = InlineRun(spec=RunSpec(name="fit"), state=RunState.FINISHED, started_us=1, ended_us=2)
    run = await house.runs.record_inline(PLATFORM, PROJECT, inline)
    made = Provenance(code="c0de" * 16, environment="e" * 64, python="3.11", seed=3)
    await house.runs.update(PLATFORM, PROJECT, run.id, RunUpdate(provenance=made))
    inputs = (f"sill://{PROJECT}/tables/customers/{report.snapshot_id}", f"sill://{PROJECT}/features/recent/1")
    await house.serve(run_id=run.id, inputs=inputs)
    await house.record("seg-1", house.row(1, entity={"customer_id": "8"}))

    found = await house.traffic.explain(PLATFORM, PROJECT, "req-1")

    whats = [link.what for link in found.chain]
    assert whats == ["answer", "model version", "run", "code", "snapshot", "feature view", "source"]
    assert [(row["customer_id"], row["_source_row"]) for row in found.source_rows] == [(8, 2)]
    assert found.chain[3].facts["digest"] == "c0de" * 16
    assert found.chain[-1].facts == {"rows": "2", "digest": "ab" * 32}
    assert found.cost_usd > 0


@pytest.mark.anyio
async def test_an_unknown_request_cannot_be_explained(house: Any) -> None:
    with pytest.raises(NotFound, match="req-404"):
        await house.traffic.explain(PLATFORM, PROJECT, "req-404")


@pytest.mark.anyio
async def test_without_the_right_nothing_is_taken_or_told(house: Any) -> None:
    await house.serve()
    reader = Actor(id="t", scopes=frozenset({"traffic:read"}), projects=frozenset({PROJECT}))
    stranger = Actor(id="s", scopes=frozenset({"*"}), projects=frozenset({"other"}))

    with pytest.raises(Forbidden):
        await house.traffic.label(reader, PROJECT, "churn", labels(req_1="yes"))
    with pytest.raises(NotFound):
        await house.traffic.stats(stranger, PROJECT, "churn")
    with pytest.raises(InvalidValue):
        await house.traffic.label(PLATFORM, PROJECT, "churn", labels(req_1=""))


@pytest.mark.anyio
async def test_a_deleted_endpoint_is_forgotten(house: Any) -> None:
    await house.serve()
    await house.record("seg-1", house.row(1))
    await house.endpoints.delete(PLATFORM, PROJECT, "churn")
    worker = RolloutWorker(house.platform.log, house.traffic)
    for event in await house.platform.log.after(0, kinds=("endpoint.deleted",)):
        await worker.handle(event)

    assert await house.traffic.quality_since(PROJECT, "churn", 1) == (0, 0)
    assert await house.traffic.rows_after(PROJECT, "churn", 0, 10) == ([], 0)
