"""Start-up: seconds from `exec` of `sill up`, interpreter and all, to the first answer, on a home with things in it.

Both planes were ended before and start anew. `/health` is asked over a connection that waits until it is answered; then
the endpoint until the inference plane answers it. Median of five.
"""

import statistics
import time
from collections.abc import Iterator

from bench.home import furnished
from sill.testing.control_plane import wait_until_served
from sill.testing.furnish import ENDPOINT, PROJECT

TIMES = 5


def measure() -> Iterator[str]:
    """Two lines: the control plane, and the endpoint."""
    first, own, served = [], [], []
    with furnished() as plane:
        for _ in range(TIMES):
            begun_s = time.monotonic()
            started = plane.start()
            first.append(started.wall_s)
            own.append(started.own_s)
            wait_until_served(plane, PROJECT, ENDPOINT)
            served.append(time.monotonic() - begun_s)
            plane.stop()
    yield (
        f"{statistics.median(first):.2f} s to the first answer, median of {TIMES} ({min(first):.2f} to {max(first):.2f}; "
        f"without waiting for a core {statistics.median(own):.2f}); at most 1.5 s is wanted"
    )
    median, least, most = statistics.median(served), min(served), max(served)
    yield f"{median:.2f} s until the endpoint answers, median of {TIMES} ({least:.2f} to {most:.2f})"
