"""Writes: small changes over HTTP, each durable (fsync) when it is answered, by one client and by 32 at once.

A client sets a tag on a run of its own, waits for the answer, and goes on. Changes that wait at the same time share one
commit, so that many clients get more done than one. Clients are threads of one other process, on the same machine.
"""

import concurrent.futures
import statistics
import time
from collections.abc import Iterator

from bench.home import running
from sill.runs.types import Batch, InlineRun, RunSpec, RunState
from sill.sdk.client import Client
from sill.sdk.runs import Runs
from sill.testing.control_plane import ControlPlane
from sill.testing.furnish import PROJECT

SECONDS = 5.0
CLIENTS = (1, 32)


def measure() -> Iterator[str]:
    """One line for each number of clients."""
    with running() as plane:
        for count in CLIENTS:
            yield hurry(plane, count)


def hurry(plane: ControlPlane, count: int) -> str:
    """So many clients write as fast as they can."""
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        found = list(threads.map(lambda _: write(plane), range(count)))
    every = sorted(seconds for one in found for seconds in one)
    p99 = every[int(0.99 * len(every))]
    return (
        f"{len(every) / SECONDS:.0f} writes/s with {count} client{'s' if count > 1 else ''}; "
        f"p50 {statistics.median(every) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"
    )


def write(plane: ControlPlane) -> list[float]:
    """One client's writes: the seconds each took."""
    token = (plane.home / "token").read_text().strip()
    client = Client(plane.url, token, PROJECT)
    runs, taken = Runs(client), list[float]()
    run = runs.record_inline(InlineRun(spec=RunSpec(name="bench"), state=RunState.FINISHED, started_us=1, ended_us=2))
    until_s = time.monotonic() + SECONDS
    while (begun_s := time.monotonic()) < until_s:
        runs.log(run.id, Batch(tags={"n": str(len(taken))}))
        taken.append(time.monotonic() - begun_s)
    client.close()
    return taken
