"""Batched answers equal unbatched ones; a broken revision takes no traffic; shadows never cost the caller."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.clock import SystemClock
from sill.core.errors import (
    Damaged,
    Forbidden,
    InvalidValue,
    NotFound,
    Refused,
    SillError,
    Unauthenticated,
    Unavailable,
)
from sill.endpoints.types import PlanEndpoint, PlanRevision, PlanToken, ServingPlan
from sill.runtimes.port import open_runtime
from sill.runtimes.types import Signature
from sill.testing.serving_models import (
    REGRESSION,
    SIGNATURE,
    TOKEN,
    Bundle,
    centred,
    classifier,
    make_signer,
    plan,
    regressor,
    rows,
)
from sill.traffic.batching import Batcher
from sill.traffic.bundles import Bundles
from sill.traffic.plane import Plane
from sill.traffic.pool import Model, Route, make_route
from sill.traffic.recording import Asked, Recorder
from sill.traffic.tensors import Question, agree, to_question
from sill.traffic.types import RequestRow


def revision(
    number: int = 1, weight: int = 100, is_shadow: bool = False, signature: Signature = SIGNATURE
) -> PlanRevision:
    return PlanRevision(
        number=number, model_version=number, files={}, signature=signature, weight=weight, is_shadow=is_shadow
    )


def model(content: bytes, **changes: Any) -> Model:
    return Model(revision(**changes), open_runtime("onnx", content))


CLASSIFIER = model(classifier())


def as_is(raw: Any, _rows: int) -> Any:
    return raw


def batcher_of(content: bytes, row_ms: float = 0.1) -> Batcher:
    return Batcher(open_runtime("onnx", content).infer, as_is, row_ms=row_ms, can_batch=True)


async def ask_all(batcher: Batcher, parts: list[Any]) -> list[Any]:
    deadline_s = asyncio.get_running_loop().time() + 60
    questions = [Question(arrays={"input": part}, rows=len(part)) for part in parts]
    return await asyncio.gather(*(batcher.infer(one, deadline_s) for one in questions), return_exceptions=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 99))
def test_requests_answered_together_get_the_answers_they_get_alone(sizes: list[int], seed: int) -> None:
    runtime = open_runtime("onnx", classifier((1.0, -2.0, 0.5)))
    batcher = Batcher(runtime.infer, as_is, row_ms=0.01, can_batch=True)
    parts = [rows(size, seed + place) for place, size in enumerate(sizes)]

    answers = asyncio.run(ask_all(batcher, parts))

    for part, answer in zip(parts, answers, strict=True):
        alone = runtime.infer({"input": part})
        assert np.array_equal(answer.outputs["label"], alone["label"])
        np.testing.assert_allclose(answer.outputs["probabilities"], alone["probabilities"], rtol=1e-6, atol=1e-7)
    assert batcher.statistics.executions.total() <= 1 + sum(sizes) // 128


@pytest.mark.anyio
@pytest.mark.parametrize("row_ms", [0.1, 100.0], ids=["inline", "in a thread"])
async def test_a_question_the_model_cannot_take_harms_nobody_else(row_ms: float) -> None:
    batcher = batcher_of(classifier(), row_ms)

    good, bad = await ask_all(batcher, [rows(2), np.zeros((1, 7), np.float32)])

    assert len(good.outputs["label"]) == 2
    assert isinstance(bad, SillError)


@pytest.mark.anyio
async def test_work_whose_deadline_passed_is_not_begun() -> None:
    batcher = batcher_of(classifier())

    with pytest.raises(Unavailable, match="deadline"):
        await batcher.infer(Question(arrays={"input": rows(1)}, rows=1), asyncio.get_running_loop().time() - 1)

    assert batcher.statistics.executions.total() == 0


def test_a_model_whose_rows_lean_on_each_other_is_never_batched() -> None:
    leaning = Model(revision(signature=REGRESSION), open_runtime("onnx", centred()))

    assert leaning.batcher.rows_max == 1
    assert CLASSIFIER.batcher.rows_max > 1


def test_named_features_and_one_tensor_mean_the_same() -> None:
    table = rows(4)
    named = {name: table[:, place].astype(np.float64) for place, name in enumerate(SIGNATURE.features)}

    assert np.array_equal(
        to_question(SIGNATURE, named).arrays["input"], to_question(SIGNATURE, {"input": table}).arrays["input"]
    )


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"a": np.zeros(1), "b": np.zeros(1)},
        {"a": np.zeros(1), "b": np.zeros(1), "c": np.zeros(1), "d": np.zeros(1)},
        {"a": np.zeros(1), "b": np.zeros(2), "c": np.zeros(1)},
        {"a": np.zeros((1, 2)), "b": np.zeros(1), "c": np.zeros(1)},
        {"a": np.array(["x"], dtype=object), "b": np.zeros(1), "c": np.zeros(1)},
        {"a": np.array([1e300]), "b": np.zeros(1), "c": np.zeros(1)},
        {"input": np.zeros((1, 4), np.float32)},
        {"input": np.zeros(3, np.float32)},
        {"input": np.zeros((1, 3), np.float32), "other": np.zeros(1)},
        {"input": np.zeros((10_001, 3), np.float32)},
    ],
)
def test_inputs_that_are_not_the_models_are_refused(tensors: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        to_question(SIGNATURE, tensors)


@pytest.mark.anyio
async def test_an_answer_that_is_not_finite_is_refused_not_sent() -> None:  # B60
    sums = model(regressor(), signature=REGRESSION)
    huge = np.full((1, 3), 3e38, np.float32)

    with pytest.raises(Refused, match="finite"):
        await sums.batcher.infer(Question(arrays={"input": huge}, rows=1), asyncio.get_running_loop().time() + 9)


def test_predictions_agree_by_class_or_by_nearness() -> None:
    assert agree("classification", "yes", "yes")
    assert not agree("classification", "yes", "no")
    assert agree("regression", "100", "105")
    assert not agree("regression", "100", "130")


def plane_with(*models: Model, shadows: tuple[Model, ...] = ()) -> tuple[Plane, PlanToken]:
    plane = Plane(SystemClock(), Recorder(SystemClock(), lambda: None))
    token = PlanToken(digest="d", projects=("default",))
    endpoint = PlanEndpoint(
        project="default",
        name="churn",
        revisions=tuple(m.revision for m in (*models, *shadows)),
        log_sample=1.0,
        log_payload=True,
    )
    route = Route(endpoint=endpoint, answering=models, shadows=shadows)
    plane.follow(
        ServingPlan(revision=1, endpoints=(endpoint,), tokens=(token,), public_key=""), {("default", "churn"): route}
    )
    return plane, token


def noted(plane: Plane) -> list[RequestRow]:
    return plane.recorder.take(1_000).rows()


def asked(number: int = 1, count: int = 1) -> Asked:
    return Asked(id=f"req-{number}", project="default", endpoint="churn", tensors={"input": rows(count, number)})


@pytest.mark.anyio
async def test_every_answered_row_is_kept_with_its_features_and_prediction() -> None:
    plane, token = plane_with(CLASSIFIER)

    told = await plane.answer(token, asked(count=2))
    kept = noted(plane)

    assert [row.request_id for row in kept] == ["req-1/0", "req-1/1"]
    assert [row.prediction for row in kept] == told.part.outputs["label"].tolist()
    assert kept[0].features.keys() == {"a", "b", "c"}


@pytest.mark.anyio
async def test_a_shadow_answers_after_the_caller_and_says_whether_it_agrees() -> None:
    contrary = model(classifier((-1.0, -1.0, -1.0)), number=2, weight=0, is_shadow=True)
    plane, token = plane_with(CLASSIFIER, shadows=(contrary,))
    worker = asyncio.create_task(plane.shadows.run())
    for number in range(20):
        await plane.answer(token, asked(number))
    while plane.recorder.waiting < 40:  # noqa: ASYNC110  # the plane takes note by a plain call
        await asyncio.sleep(0.001)
    worker.cancel()

    shadow = [row for row in noted(plane) if row.is_shadow]
    assert {row.revision for row in shadow} == {2}
    assert all(row.agrees is False for row in shadow)


@pytest.mark.anyio
async def test_shadow_copies_are_dropped_and_counted_when_too_many_wait() -> None:
    shadow = model(classifier(), number=2, weight=0, is_shadow=True)
    plane, token = plane_with(CLASSIFIER, shadows=(shadow,))
    for number in range(300):
        await plane.answer(token, asked(number))

    assert plane.shadows.dropped == 300 - 256


@pytest.mark.anyio
async def test_anothers_endpoint_and_an_absent_one_are_answered_alike() -> None:
    plane, token = plane_with(CLASSIFIER)

    for project in ("other", "default"):
        with pytest.raises(NotFound, match=f"no endpoint 'x' in project '{project}'"):
            plane.route(token, project, "x")


def test_an_unknown_or_expired_token_is_refused() -> None:
    plane, _ = plane_with(CLASSIFIER)

    for secret in ("", "nope", TOKEN):
        with pytest.raises(Unauthenticated):
            plane.authenticate(secret)


def test_before_there_is_a_plan_everybody_is_told_to_come_again() -> None:
    clock = SystemClock()

    with pytest.raises(Unavailable, match="plan"):
        Plane(clock, Recorder(clock, lambda: None)).authenticate("sill_" + "x" * 43)


def test_the_old_models_answer_until_the_new_one_is_ready(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    bundle = Bundle(signer, classifier())
    old = plan(signer, 1, bundle.revision(1, 100)).endpoints[0]
    new = plan(signer, 2, bundle.revision(2, 100)).endpoints[0]
    before = make_route(old, {1: CLASSIFIER}, None)

    assert make_route(new, {}, before).answering == before.answering
    with pytest.raises(Refused):
        make_route(new, {}, None)


class FilesOf:
    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def file(self, _project: str, _model: str, _version: int, path: str) -> bytes:
        return self.bundle.files[path]


def test_a_bundle_is_used_only_with_right_digests_and_signature(tmp_path: Path) -> None:
    signer, stranger = make_signer(tmp_path), make_signer(tmp_path / "other")
    good = Bundle(signer, classifier())
    store = Bundles(tmp_path / "bundles")

    held = store.folder(FilesOf(good), "p", "m", good.revision(1, 100), signer.public_key_pem())
    assert (held / "model.onnx").read_bytes() == classifier()
    with pytest.raises(Damaged):
        store.folder(FilesOf(good), "p", "m", good.revision(1, 100), stranger.public_key_pem())


def test_a_bundle_damaged_on_disk_is_fetched_again_and_one_damaged_at_its_source_refused(tmp_path: Path) -> None:
    signer = make_signer(tmp_path)
    good = Bundle(signer, classifier())
    store, key = Bundles(tmp_path / "bundles"), signer.public_key_pem()
    store.folder(FilesOf(good), "p", "m", good.revision(1, 100), key)
    (tmp_path / "bundles" / good.digests["model.onnx"]).write_bytes(b"flipped")

    held = store.folder(FilesOf(good), "p", "m", good.revision(1, 100), key)
    assert (held / "model.onnx").read_bytes() == classifier()

    wanted = good.revision(1, 100)
    good.files["model.onnx"] = b"other"
    store.keep_only(set())
    with pytest.raises(Damaged, match="digest"):
        store.folder(FilesOf(good), "p", "m", wanted, key)


ADMIN = PlanToken(digest="a", projects=("default",), may_admin=True)
STRANGER = PlanToken(digest="s", projects=("other",), may_admin=True)


@pytest.mark.anyio
async def test_an_endpoint_unloaded_by_hand_answers_no_more_until_it_is_loaded() -> None:
    plane, token = plane_with(CLASSIFIER)

    await plane.unload(ADMIN, "default", "churn")
    with pytest.raises(Unavailable, match="by hand"):
        await plane.answer(token, asked())
    assert [one.state for one in plane.index(token)] == ["UNAVAILABLE"]
    await plane.load(ADMIN, "default", "churn")

    assert (await plane.answer(token, asked())).revision == 1
    assert [one.state for one in plane.index(token)] == ["READY"]


@pytest.mark.anyio
async def test_only_an_admin_loads_and_unloads_and_a_stranger_does_not_learn_of_it() -> None:
    plane, token = plane_with(CLASSIFIER)

    for act in (plane.load, plane.unload):
        with pytest.raises(Forbidden):
            await act(token, "default", "churn")
        with pytest.raises(NotFound):
            await act(STRANGER, "default", "churn")
    assert plane.index(STRANGER) == []


@pytest.mark.anyio
async def test_a_model_that_does_not_stream_gives_its_answer_in_one_part() -> None:
    plane, token = plane_with(CLASSIFIER)

    told = [one async for one in plane.stream(token, asked(count=3))]

    assert [len(one.part.outputs["label"]) for one in told] == [3]
    assert len(noted(plane)) == 3


@pytest.mark.anyio
async def test_a_model_that_turned_out_to_be_broken_leaves_its_route() -> None:
    second = model(classifier(), number=2, weight=50)
    plane, token = plane_with(CLASSIFIER, second)

    plane.without(plane.planned["default", "churn"], second)
    assert {(await plane.answer(token, asked(number))).revision for number in range(20)} == {1}
    plane.without(plane.planned["default", "churn"], CLASSIFIER)
    with pytest.raises(Unavailable):
        await plane.answer(token, asked())
