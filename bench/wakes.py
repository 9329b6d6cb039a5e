"""Scale to zero: models that left memory are asked again. How long does the first, held request take, and does any fail?"""

import time
from collections.abc import Iterator

import httpx

from bench.models import KINDS, House, house, percentile_s

WAKES = 200
"""Of each kind of model."""
MODELS = 4 * len(KINDS)
IDLE_S = 0.2
COLD_S_MAX = 1.5
CACHE_BYTES = 1024 * 1024 * 1024
ASLEEP_S = 30.0


def measure(wakes: int = WAKES) -> Iterator[str]:
    """One line for each kind of model."""
    with house(MODELS, CACHE_BYTES, IDLE_S, tuple(KINDS)) as made:
        made.start()
        taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
        failed = 0
        for _ in range(wakes * len(KINDS) // MODELS):
            until_asleep(made)
            for name in made.names:
                took_s, status = made.ask(name)
                taken[name.partition("-")[0]].append(took_s)
                failed += status != httpx.codes.OK
        for kind, seconds in taken.items():
            yield (
                f"{kind}: {len(seconds)} wakes, p50 {percentile_s(seconds, 0.5) * 1e3:.0f} ms, "
                f"p99 {percentile_s(seconds, 0.99) * 1e3:.0f} ms, longest {max(seconds) * 1e3:.0f} ms; "
                f"less than {COLD_S_MAX * 1e3:.0f} ms is wanted"
            )
        yield f"{failed} of {wakes * len(KINDS)} requests failed"


def until_asleep(made: House) -> None:
    """Wait until no model is in memory.

    Raises:
        TimeoutError: one stays.
    """
    limit_s = time.monotonic() + ASLEEP_S
    while made.loaded():
        if time.monotonic() > limit_s:
            raise TimeoutError(f"{sorted(made.loaded())} stay in memory.")
        time.sleep(IDLE_S / 2)
