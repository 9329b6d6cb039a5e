"""What runs log is kept whole, bounded, and found again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, InvalidValue, TooLarge
from sill.runs.types import Batch, Metric, Run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def run(host: Any, ada: Actor, program: Any) -> Run:
    return await host.runs.submit(ada, "p", program(params={"depth": "3"}, tags={"team": "a"}))  # type: ignore[no-any-return]


def points(key: str, *values: float) -> tuple[Metric, ...]:
    return tuple(Metric(key=key, value=value, step=step) for step, value in enumerate(values))


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_batch_is_found_again(host: Any, ada: Actor, run: Run) -> None:
    await host.tracking.log(
        ada, "p", run.id, Batch(metrics=points("loss", 3, 1, 2), params={"lr": "1"}, tags={"x": "y"})
    )
    data = await host.tracking.data(ada, "p", run.id)

    assert data.metrics == {"loss": 2.0}
    assert data.params == {"depth": "3", "lr": "1"}
    assert data.tags == {"team": "a", "x": "y"}


async def test_the_last_value_is_that_of_the_highest_step(host: Any, ada: Actor, run: Run) -> None:
    for step, value in ((5, 0.5), (2, 0.2), (5, 0.7)):
        await host.tracking.log(
            ada, "p", run.id, Batch(metrics=(Metric(key="m", value=value, step=step, timestamp_ms=step),))
        )

    assert (await host.tracking.data(ada, "p", run.id)).metrics == {"m": 0.7}


async def test_a_param_is_set_once_and_a_refused_batch_leaves_nothing(host: Any, ada: Actor, run: Run) -> None:
    with pytest.raises(Conflict, match=r"Param with key='depth' was already logged with value='3' .* new value '4'"):
        await host.tracking.log(ada, "p", run.id, Batch(metrics=points("m", 1), params={"depth": "4"}))

    assert (await host.tracking.data(ada, "p", run.id)).metrics == {}


async def test_the_same_key_logs_once(host: Any, ada: Actor, run: Run) -> None:
    for _ in range(2):
        await host.tracking.log(ada, "p", run.id, Batch(metrics=points("m", 1)), key="k")

    assert len((await host.tracking.history(ada, "p", run.id, "m")).items) == 1


@pytest.mark.parametrize(
    "batch",
    [
        Batch(metrics=(Metric(key="m", value=1, step=2**63),)),
        Batch(metrics=(Metric(key="m", value=1, timestamp_ms=10**30),)),
        Batch(metrics=(Metric(key="m", value=1, timestamp_ms=-2),)),
        Batch(metrics=(Metric(key="m", value=1, model_id="m" * 251),)),
        Batch(metrics=points("m", *range(950)), params={f"p{i}": "" for i in range(51)}),
        Batch(metrics=points("m" * 251, 1)),
        Batch(metrics=points("../m", 1)),
        Batch(metrics=points("m\0", 1)),
        Batch(metrics=points("m", *range(1001))),
        Batch(params={"p": "x" * 2_000_000}),
        Batch(params={f"p{i}": "" for i in range(101)}),
        Batch(tags={"t": "a\0b"}),
        Batch(tags={"": "x"}),
    ],
)
async def test_what_is_outside_the_limits_is_refused_with_the_field(
    host: Any, ada: Actor, run: Run, batch: Batch
) -> None:
    with pytest.raises(InvalidValue) as refused:
        await host.tracking.log(ada, "p", run.id, batch)

    assert refused.value.field.split(".")[0] in ("metrics", "params", "tags")


async def test_code_beyond_its_size_is_refused(host: Any, ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sill.runs.service.CODE_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        await host.runs.upload_code(ada, "p", chunks(b"x" * 11))
