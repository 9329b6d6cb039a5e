"""Idle memory: proportional set size (PSS) of the whole process tree, 20 s after the last request.

PSS counts a page that several processes share by its part, so that the sum is what the platform really takes. Measured
twice: after a start, with one endpoint loaded; and after use, when tables were written and queried and the endpoint was
asked, so that pyarrow, pyiceberg and DuckDB are loaded.
"""

import time
from collections.abc import Iterator

from bench.home import running
from sill.sdk.lake import Tables
from sill.testing.control_plane import ControlPlane
from sill.testing.furnish import PROJECT, TABLE, ask

IDLE_S = 20.0
MB = 1e6


def measure() -> Iterator[str]:
    """Two lines: after a start, and after use."""
    with running() as plane:
        time.sleep(IDLE_S)
        yield f"{tell(plane)} after a start; less than 250 MB is wanted"
        use(plane)
        time.sleep(IDLE_S)
        yield f"{tell(plane)} after use"


def use(plane: ControlPlane) -> None:
    """Write, query and ask."""
    tables = Tables(plane.client(PROJECT))
    for batch in range(5):
        tables.append(TABLE, [{"name": f"b{batch}-{n}", "age": float(n % 100)} for n in range(2_000)])
    tables.sql(f"SELECT count(*), avg(age) FROM {TABLE}")
    tables.rows(TABLE)
    ask(plane.client(PROJECT), 200)


def tell(plane: ControlPlane) -> str:
    """The sum and its parts."""
    parts = [(process.memory_full_info().pss, process.cmdline()) for process in plane.processes()]
    each = " + ".join(f"{pss / MB:.0f}" for pss, _ in parts)
    return f"{sum(pss for pss, _ in parts) / MB:.0f} MB PSS ({each}: control plane, inference plane)"
