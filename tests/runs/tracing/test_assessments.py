"""An assessment that overrides another makes it invalid as long as it is there."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, NotFound
from sill.runs.tracing.types import Assessment, AssessmentChange, AssessmentKind, Span, Trace

TRACE = "tr-00000000000000000000000000000001"


@pytest.fixture
async def traced(house: Any, log: Callable[..., Awaitable[Any]], span: Callable[..., Span]) -> Any:
    await log(span(trace=1), span(trace=2))
    return house


def feedback(**fields: Any) -> Assessment:
    return Assessment(**{"trace_id": TRACE, "name": "score", "kind": AssessmentKind.FEEDBACK, "value": 4, **fields})


@pytest.mark.anyio
async def test_an_override_holds_until_it_is_deleted(traced: Any, ada: Actor) -> None:
    first = await traced.assessments.log(ada, "p", feedback())
    second = await traced.assessments.log(ada, "p", feedback(value=2, overrides=first.id))
    overridden = await traced.assessments.get(ada, "p", TRACE, first.id)
    await traced.assessments.delete(ada, "p", TRACE, second.id)

    assert not overridden.is_valid
    assert (await traced.assessments.get(ada, "p", TRACE, first.id)).is_valid
    with pytest.raises(NotFound):
        await traced.assessments.get(ada, "p", TRACE, second.id)


@pytest.mark.anyio
async def test_a_change_keeps_what_it_does_not_name(traced: Any, ada: Actor) -> None:
    known = await traced.assessments.log(ada, "p", feedback(rationale="good", metadata={"a": "1"}))
    traced.clock.advance(1)
    change = AssessmentChange(kind=AssessmentKind.FEEDBACK, value={"x": [1]}, metadata={"b": "2"})

    changed = await traced.assessments.change(ada, "p", TRACE, known.id, change)

    assert (changed.value, changed.rationale, changed.metadata) == ({"x": [1]}, "good", {"a": "1", "b": "2"})
    assert changed.updated_ms > changed.created_ms
    wrong = AssessmentChange(kind=AssessmentKind.EXPECTATION, value=1)
    with pytest.raises(InvalidValue, match="Cannot update"):
        await traced.assessments.change(ada, "p", TRACE, known.id, wrong)


@pytest.mark.anyio
async def test_a_trace_that_is_reported_again_does_not_take_another_ones_assessment(traced: Any, ada: Actor) -> None:
    known = await traced.assessments.log(ada, "p", feedback())
    thief = Trace(id=TRACE[:-1] + "2", assessments=(feedback(id=known.id),))

    with pytest.raises(InvalidValue, match="another trace"):
        await traced.tracing.report(ada, "p", thief)
    assert (await traced.assessments.get(ada, "p", TRACE, known.id)).trace_id == TRACE


@pytest.mark.parametrize(
    "fields", [{"name": ""}, {"name": "x" * 251}, {"source_type": "ORACLE"}, {"metadata": {"": "x"}}, {"id": "../x"}]
)
@pytest.mark.anyio
async def test_an_assessment_outside_its_limits_is_refused(traced: Any, ada: Actor, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        await traced.assessments.log(ada, "p", feedback(**fields))


@pytest.mark.anyio
async def test_nothing_is_said_of_a_trace_that_is_not_there(traced: Any, ada: Actor) -> None:
    with pytest.raises(NotFound):
        await traced.assessments.log(ada, "p", feedback(trace_id="tr-gone"))
    with pytest.raises(NotFound):
        await traced.assessments.log(ada, "p", feedback(overrides="a-gone"))
