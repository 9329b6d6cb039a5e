"""What runs log is kept whole, bounded, and found again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.core.errors import Conflict, InvalidValue, NotFound, TooLarge
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
    with pytest.raises(Conflict, match=r"param 'depth' of run .* is '3' and cannot become '4'"):
        await host.tracking.log(ada, "p", run.id, Batch(metrics=points("m", 1), params={"depth": "4"}))

    assert (await host.tracking.data(ada, "p", run.id)).metrics == {}


async def test_the_same_key_logs_once(host: Any, ada: Actor, run: Run) -> None:
    for _ in range(2):
        await host.tracking.log(ada, "p", run.id, Batch(metrics=points("m", 1)), key="k")

    assert len(await host.tracking.history(ada, "p", run.id, "m")) == 1


async def test_a_history_is_paged_by_step_without_loss(host: Any, ada: Actor, run: Run) -> None:
    logged = tuple(Metric(key="m", value=float(i), step=i // 3, timestamp_ms=1) for i in range(30))
    await host.tracking.log(ada, "p", run.id, Batch(metrics=logged))
    found: list[Metric] = []
    while page := await host.tracking.history(ada, "p", run.id, "m", found[-1].step if found else -1, 4):
        found += page

    assert tuple(found) == logged


@pytest.mark.parametrize(
    "batch",
    [
        Batch(metrics=points("m", float("nan"))),
        Batch(metrics=points("m", float("inf"))),
        Batch(metrics=(Metric(key="m", value=1, step=2**63),)),
        Batch(metrics=(Metric(key="m", value=1, timestamp_ms=10**30),)),
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


async def test_artifacts_are_listed_by_folder_and_page(host: Any, ada: Actor, run: Run) -> None:
    for path in ("a/1", "a/2", "b"):
        await host.tracking.put_artifact(ada, "p", run.id, path, chunks(path.encode()))
    page = await host.tracking.artifacts(ada, "p", run.id, limit=2)

    assert [found.path for found in page.items] == ["a/1", "a/2"]
    assert [found.path for found in (await host.tracking.artifacts(ada, "p", run.id, after=page.next)).items] == ["b"]
    assert len((await host.tracking.artifacts(ada, "p", run.id, under="a")).items) == 2


async def test_an_artifact_comes_back_as_it_was(host: Any, ada: Actor, run: Run) -> None:
    await host.tracking.put_artifact(ada, "p", run.id, "m.bin", chunks(b"old"))
    await host.tracking.put_artifact(ada, "p", run.id, "m.bin", chunks(b"new"))
    artifact, found = await host.tracking.open_artifact(ada, "p", run.id, "m.bin")

    assert (artifact.size_bytes, b"".join([piece async for piece in found])) == (3, b"new")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "a\\b", "", ".", "a\0", "x" * 2000, "a/../../b"])
async def test_a_path_that_climbs_is_refused(host: Any, ada: Actor, run: Run, path: str) -> None:
    with pytest.raises(InvalidValue):
        await host.tracking.put_artifact(ada, "p", run.id, path, chunks(b""))
    with pytest.raises(InvalidValue):
        await host.tracking.open_artifact(ada, "p", run.id, path)


async def test_another_tenants_artifact_is_not_there(host: Any, ada: Actor, run: Run) -> None:
    await host.tracking.put_artifact(ada, "p", run.id, "m", chunks(b""))
    with pytest.raises(NotFound):
        await host.tracking.open_artifact(ada, "q", run.id, "m")


async def test_another_runs_job_writes_nothing(host: Any, run: Run) -> None:
    job = Actor(id="job:run-00000000", scopes=frozenset({"runs:write"}), projects=frozenset({"p"}))
    with pytest.raises(Exception, match="may not write to run"):
        await host.tracking.put_artifact(job, "p", run.id, "m", chunks(b""))


async def test_code_beyond_its_size_is_refused(host: Any, ada: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sill.runs.service.CODE_BYTES_MAX", 10)
    with pytest.raises(TooLarge):
        await host.runs.upload_code(ada, "p", chunks(b"x" * 11))
