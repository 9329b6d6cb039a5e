"""What the gauges say of a running run becomes its metrics, each point once."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.runs.sampling import SystemMetrics
from sill.runs.types import Run, RunSpec

Program = Callable[..., RunSpec]
Over = Callable[[Run], Awaitable[Run]]
CPU = "system/cpu_utilization_percentage"


@pytest.mark.anyio
async def test_a_run_has_system_metrics(working: Any, ada: Actor, program: Program, over: Over) -> None:
    run = await over(await working.runs.submit(ada, "p", program("import time; time.sleep(1.5)")))

    data = await working.tracking.data(ada, "p", run.id)
    assert {CPU, "system/run_memory_megabytes", "system/disk_usage_percentage"} <= set(data.metrics)
    (point, *_) = (await working.tracking.history(ada, "p", run.id, CPU)).items
    assert point.timestamp_ms * 1_000 > run.started_us


@pytest.mark.anyio
async def test_after_a_restart_no_sample_counts_twice(working: Any, ada: Actor, program: Program, over: Over) -> None:
    run = await over(await working.runs.submit(ada, "p", program("import time; time.sleep(1.5)")))
    before = await working.tracking.history(ada, "p", run.id, CPU)
    await SystemMetrics(working.database, working.engine).collect([run])

    assert await working.tracking.history(ada, "p", run.id, CPU) == before


@pytest.mark.anyio
async def test_what_the_run_wrote_among_its_samples_is_no_metric(
    working: Any, ada: Actor, program: Program, over: Over
) -> None:
    forged = """
import json, os, time
with open(os.environ["SILL_RUN_FOLDER"] + "/system.jsonl", "a") as file:
    file.write(json.dumps([time.time_ns() // 10**6, {"loss": 0.0, "system/../up": 1.0}]) + "\\n")
    file.write("nonsense\\n")
"""
    run = await over(await working.runs.submit(ada, "p", program(forged)))

    assert run.state == "finished"
    assert set((await working.tracking.data(ada, "p", run.id)).metrics) <= {CPU}
