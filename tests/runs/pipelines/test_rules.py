"""Pipelines: order, readiness, failure, and what a cache key depends on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.runs.pipelines.rules import cache_key, check_pipeline, decide
from sill.runs.pipelines.types import PipelineSpec, StepSpec
from sill.runs.types import RunState


def pipeline(**needs: str) -> PipelineSpec:
    """`pipeline(a="", b="a")`: b needs a."""
    steps = tuple(StepSpec(name=name, function=name, needs=tuple(of.split())) for name, of in needs.items())
    return PipelineSpec(project="p", name="nightly", steps=steps, code="c0de" * 16)


def test_steps_come_after_those_they_need() -> None:
    assert check_pipeline(pipeline(c="b", b="a", a="")) == ("a", "b", "c")


def test_independent_steps_start_together() -> None:
    assert decide(pipeline(a="", b="", c="a b"), {}).start == ("a", "b")


def test_a_waiting_step_says_for_what() -> None:
    plan = decide(pipeline(a="", b="a"), {"a": RunState.RUNNING})

    assert plan.reasons == {"b": "waits for a"}


def test_a_failure_ends_it_once_nothing_runs() -> None:
    spec = pipeline(a="", b="", c="a b")

    assert decide(spec, {"a": RunState.FAILED, "b": RunState.RUNNING}).ended is None
    assert decide(spec, {"a": RunState.FAILED, "b": RunState.FINISHED}).ended is RunState.FAILED


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_every_step_of_a_graph_without_cycles_starts_exactly_once(edges: list[tuple[int, int]]) -> None:
    needs = {f"s{n}": " ".join(sorted({f"s{a}" for a, b in edges if b == n and a < n})) for n in range(8)}
    spec, states, started = pipeline(**needs), {}, []
    while (plan := decide(spec, states)).ended is None:
        started += plan.start
        states |= dict.fromkeys(plan.start, RunState.FINISHED)

    assert sorted(started) == sorted(needs)


@pytest.mark.parametrize(
    "spec",
    [
        pipeline(),
        pipeline(a="a"),
        pipeline(a="b", b="a"),
        pipeline(a="nobody"),
        PipelineSpec(project="p", name="n", steps=(StepSpec(name="a"),)),
        PipelineSpec(project="p", name="n", steps=(StepSpec(name="a", function="f"), StepSpec(name="a", function="f"))),
        PipelineSpec(project="p", name="n", steps=tuple(StepSpec(name=f"s{n}", function="f") for n in range(1_001))),
    ],
    ids=["empty", "itself", "cycle", "unknown", "nothing", "twice", "many"],
)
def test_what_is_no_graph_is_refused(spec: PipelineSpec) -> None:
    with pytest.raises(InvalidValue):
        check_pipeline(spec)


def test_the_cache_key_follows_code_params_and_results() -> None:
    spec = pipeline(a="", b="a")
    b = spec.steps[1]
    keys = {
        cache_key(spec, b, {"a": "1"}),
        cache_key(spec, b, {"a": "2"}),
        cache_key(spec, StepSpec(name="b", function="b", needs=("a",), params={"x": 1}), {"a": "1"}),
        cache_key(PipelineSpec(project="p", name="n", steps=spec.steps, code="other"), b, {"a": "1"}),
    }

    assert len(keys) == 4
    assert cache_key(spec, b, {"a": "1"}) == cache_key(spec, b, {"a": "1", "unrelated": "9"})
