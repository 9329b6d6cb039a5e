"""One scene after another: what is broken under load, what clients saw, and what they should have seen."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from drill.hostile import hostile
from drill.house import CHEAP, DEADLINE_MS, DEAR, PATIENT_MS, House, content
from drill.load import Load, Seen, between, p99_ms

SHARE = 0.6
"""The load beside what is broken, as a part of what can be answered at most."""
TIMES = 10.0
"""The overload, as a multiple of it."""
CALM_S = 5.0
MEASURED_S = 3.0
LINES = 64
"""Connections of the clients, but for the flood's: a request that is due while all are in use waits for one, and its
clock runs."""
FLOOD_LINES = 500
"""Connections the flood comes over, at least."""
P99_RATIO_MAX, OUT_S_MAX = 2.0, 2.0
GOODPUT_MIN, REFUSED_MS_MAX, NORMAL_S_MAX = 0.8, 50.0, 5.0
WATCHED_S = 8.0
HOSTILE_S, GREW_MB_MAX = 15.0, 300.0
REFUSALS = (429, 503)


class Figure(msgspec.Struct, frozen=True):
    """One line of the table.

    Attributes:
        bound: what the figure may be at most, or must be at least; None for one without a goal.
    """

    scene: str
    name: str
    figure: float
    bound: float | None = None
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """True if there is no goal, or it is reached."""
        return self.bound is None or (self.figure >= self.bound if self.is_least else self.figure <= self.bound)


async def capacity(house: House, model: str) -> float:
    """Answers a second that can be had at most; measured after a second of warming up."""
    for seconds in (1.0, MEASURED_S):
        asked = Load(house.gateway.port, content(model, PATIENT_MS), connections=LINES)
        begun_s = time.monotonic()
        seen = await asked.run(seconds)
    return sum(status == 200 for _, _, status in seen) / (time.monotonic() - begun_s)


async def fault(
    name: str, house: House, breaks: Callable[[], dict[str, float]], bounds: dict[str, float]
) -> list[Figure]:
    """Break something in the middle of a steady load.

    Args:
        breaks: in a thread; returns when the house is whole again, with figures of its own.
        bounds: of those figures.
    """
    most_per_s = await capacity(house, CHEAP)
    load = Load(house.gateway.port, content(CHEAP, PATIENT_MS), SHARE * most_per_s, LINES)
    asking = asyncio.create_task(load.run_until_stopped())
    await asyncio.sleep(CALM_S)
    broken_s = time.monotonic()
    told = await asyncio.to_thread(breaks)
    whole_s = time.monotonic() + 1.0
    await asyncio.sleep(1.0 + CALM_S)
    load.stop()
    await asking
    seen = load.seen
    before = p99_ms(between(seen, broken_s - CALM_S + 1.0, broken_s))
    after = p99_ms(between(seen, whole_s))
    return [
        Figure(name, "capacity, answers/s", most_per_s),
        Figure(name, "requests", len(seen)),
        *_failures(name, seen),
        *(Figure(name, what, figure, bounds.get(what)) for what, figure in told.items()),
        Figure(name, "p99 ms before", before),
        Figure(name, "p99 ms meanwhile", p99_ms(between(seen, broken_s, whole_s))),
        Figure(name, "p99 ms after", after, P99_RATIO_MAX * before),
    ]


async def misuse(house: House) -> list[Figure]:
    """Hostile clients beside half the load, which should hardly notice."""
    name, most_per_s = "hostile clients", await capacity(house, CHEAP)
    load = Load(house.gateway.port, content(CHEAP, PATIENT_MS), SHARE / 2 * most_per_s, LINES)
    asking = asyncio.create_task(load.run_until_stopped())
    await asyncio.sleep(CALM_S)
    begun_s, before_mb = time.monotonic(), house.memory_mb()
    trouble = asyncio.create_task(hostile(house.gateway.port))
    await asyncio.sleep(HOSTILE_S)
    grew_mb = house.memory_mb() - before_mb
    trouble.cancel()
    load.stop()
    await asyncio.gather(asking, trouble, return_exceptions=True)
    before = p99_ms(between(load.seen, begun_s - CALM_S + 1.0, begun_s))
    return [
        Figure(name, "capacity, answers/s", most_per_s),
        Figure(name, "requests", len(load.seen)),
        *_failures(name, load.seen),
        Figure(name, "memory grew by MB", grew_mb, GREW_MB_MAX),
        Figure(name, "p99 ms before", before),
        Figure(name, "p99 ms meanwhile", p99_ms(between(load.seen, begun_s)), P99_RATIO_MAX * before),
    ]


async def overload(house: House, seconds: float) -> list[Figure]:
    """Ten times what the dear model can answer, between two times of a load it can bear."""
    name, port = f"{TIMES:g}x overload, {seconds:g} s", house.gateway.port
    most_per_s = await capacity(house, DEAR)
    steady = Load(port, content(DEAR, DEADLINE_MS), SHARE * most_per_s)
    before = p99_ms(between(await steady.run(CALM_S), time.monotonic() - CALM_S + 1.0))
    flood = Load(port, content(DEAR, DEADLINE_MS), TIMES * most_per_s)
    await flood.connect(FLOOD_LINES)
    begun_s = time.monotonic()
    seen = await flood.run(seconds)
    good = [one for one in seen if one[2] == 200]
    refused = [one for one in seen if one[2] in REFUSALS]
    in_time = sum(due_s + took_s <= begun_s + seconds and took_s * 1e3 <= DEADLINE_MS for due_s, took_s, _ in good)
    calm_s = time.monotonic()
    after = await Load(port, content(DEAR, DEADLINE_MS), SHARE * most_per_s).run(WATCHED_S)
    return [
        Figure(name, "capacity, answers/s", most_per_s),
        Figure(name, "asked/s", len(seen) / seconds),
        Figure(name, "goodput, share of capacity", in_time / seconds / most_per_s, GOODPUT_MIN, is_least=True),
        Figure(name, "admitted p99 ms", p99_ms(good), DEADLINE_MS),
        Figure(name, "refused", len(refused)),
        Figure(name, "refused p99 ms", p99_ms(refused) if refused else 0.0, REFUSED_MS_MAX),
        Figure(name, "neither", len(seen) - len(good) - len(refused), 0),
        Figure(name, "p99 ms before", before),
        Figure(name, "normal after s", _normal_after_s(after, calm_s, before), NORMAL_S_MAX),
    ]


def _failures(name: str, seen: list[Seen]) -> list[Figure]:
    """How many requests failed, and how."""
    failed = Counter(status for _, _, status in seen if status != 200)
    each = [Figure(name, f"of them answered {status}", count) for status, count in sorted(failed.items())]
    return [Figure(name, "failed", failed.total(), 0), *each]


def _normal_after_s(seen: list[Seen], from_s: float, before_ms: float) -> float:
    """When the first whole second began in which nothing was refused and p99 was at most twice what it was."""
    for tenth in range(int(10 * (WATCHED_S - 1.0))):
        window = between(seen, from_s + tenth / 10, from_s + tenth / 10 + 1.0)
        if all(status == 200 for _, _, status in window) and p99_ms(window) <= P99_RATIO_MAX * before_ms:
            return tenth / 10
    return WATCHED_S


async def every(house: House, away_s: float, overload_s: float, tell: Callable[[list[Figure]], None]) -> bool:
    """All scenes, each told when it is over; true if every goal is met."""
    told: list[Figure] = []

    def add(figures: list[Figure]) -> None:
        tell(figures)
        told.extend(figures)

    for name, breaks, bounds in (
        ("a replica is killed", house.kill, {}),
        ("a replica is stopped", house.stop, {"out after s": OUT_S_MAX}),
        ("a broken revision", house.publish_broken, {}),
        ("a rolling update", house.roll, {}),
        ("control plane is away", lambda: house.leave_alone(away_s), {}),
    ):
        add(await fault(name, house, breaks, bounds))
    add(await misuse(house))
    add(await overload(house, overload_s))
    return all(figure.is_met for figure in told)
