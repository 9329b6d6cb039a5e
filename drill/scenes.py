"""One scene after another: what is broken under load, what clients saw, and what they should have seen."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from statistics import fmean

import msgspec
import psutil

from drill import others
from drill.house import CHEAP, DEADLINE_MS, DEAR, PATIENT_MS, House, content
from drill.load import TICK_S, Load, Seen, between, p99_ms
from drill.prober import probe

SHARE = 0.6
"""The load beside what is broken, as a part of what can be answered at most."""
TIMES = 10.0
"""The overload, as a multiple of it."""
CALM_S = 8.0
"""How long is looked on before anything is broken, and after all is whole again."""
WARMS_UP_S = 3.0
"""Before that: what was asked to find out how much can be answered is in the log's queue yet."""
SETTLES_S = 1.0
"""What waited meanwhile is answered in that time."""
MEASURED_S, TIMES_MEASURED = 1.0, 4
LINES = 64
"""Connections of the clients, but for the flood's: a request that is due while all are in use waits for one, and its
clock runs."""
FLOOD_LINES = 500
"""Connections the flood comes over, at least."""
P99_RATIO_MAX, OUT_S_MAX = 2.0, 2.0
GOODPUT_MIN, REFUSED_MS_MAX, NORMAL_S_MAX = 0.8, 50.0, 5.0
WATCHED_S = 8.0
ROUNDS, ROUND_S = 4, 5.0
"""How often the hostile clients come, and for how long."""
MEMORY_LOOK_S, GREW_MB_MAX = 1.0, 300.0
REFUSALS = (429, 503)
REFUSED = "sill_gateway_refused_seconds_bucket"


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


async def capacity(house: House, model: str) -> list[float]:
    """Answers a second that can be had at most, several times over; measured after a second of warming up."""
    found = []
    for _ in range(1 + TIMES_MEASURED):
        asked = Load(house.gateway.port, content(model, PATIENT_MS), connections=LINES)
        begun_s = time.monotonic()
        seen = await asked.run(MEASURED_S)
        found.append(sum(status == 200 for _, _, status in seen) / (time.monotonic() - begun_s))
    return found[1:]


async def bearable(house: House) -> float:
    """What the cheap model can surely answer a second: the least that was measured before this scene and those before it.

    A machine that is shared with others gives now more, now less; a load by what it gave in a good second is no part of
    what it can bear, but all of it, in the next.
    """
    house.least_per_s = min(house.least_per_s, *await capacity(house, CHEAP))
    return house.least_per_s


async def fault(
    name: str, house: House, breaks: Callable[[], dict[str, float]], bounds: dict[str, float]
) -> list[Figure]:
    """Break something in the middle of a steady load.

    Args:
        breaks: in a thread; returns when the house is whole again, with figures of its own.
        bounds: of those figures.
    """
    most_per_s = await bearable(house)
    load = Load(house.gateway.port, content(CHEAP, PATIENT_MS), SHARE * most_per_s, LINES)
    asking = asyncio.create_task(load.run_until_stopped())
    await asyncio.sleep(WARMS_UP_S)
    begun = others.now([])
    await asyncio.sleep(CALM_S)
    broken = others.now([])
    told = await asyncio.to_thread(breaks)
    await asyncio.sleep(SETTLES_S)
    whole = others.now([])
    await asyncio.sleep(CALM_S)
    load.stop()
    await asking
    seen = load.seen
    before = p99_ms(between(seen, begun.at_s, broken.at_s))
    after = p99_ms(between(seen, whole.at_s))
    return [
        Figure(name, "capacity, answers/s", most_per_s),
        Figure(name, "requests", len(seen)),
        *_failures(name, seen),
        *(Figure(name, what, figure, bounds.get(what)) for what, figure in told.items()),
        Figure(name, "p99 ms before", before),
        Figure(name, "host took then, share", begun.until(broken).stolen),
        Figure(name, "p99 ms meanwhile", p99_ms(between(seen, broken.at_s, whole.at_s))),
        Figure(name, "p99 ms after", after, P99_RATIO_MAX * before),
        Figure(name, "host took then, share", whole.until(others.now([])).stolen),
    ]


async def misuse(house: House) -> list[Figure]:
    """Hostile clients beside half the load, which should hardly notice; now they are there, now they are not.

    In turn, because the machine itself is slower in one quarter of a minute than in the next.
    """
    name, most_per_s = "hostile clients", await bearable(house)
    load = Load(house.gateway.port, content(CHEAP, PATIENT_MS), SHARE / 2 * most_per_s, LINES)
    asking = asyncio.create_task(load.run_until_stopped())
    await asyncio.sleep(WARMS_UP_S)
    before_mb, grew_mb, made = house.memory_mb(), 0.0, 0
    calm: list[Seen] = []
    troubled: list[Seen] = []
    for _ in range(ROUNDS):
        begun_s = time.monotonic()
        await asyncio.sleep(ROUND_S)
        calm_until_s = time.monotonic()
        trouble = await trouble_for(house.gateway.port, ROUND_S)
        at_it_s = time.monotonic()
        grew_mb = max(grew_mb, await most_mb(house, ROUND_S) - before_mb)
        troubled_until_s = time.monotonic()
        made += int((await trouble.communicate())[0])
        await asyncio.sleep(SETTLES_S)
        calm += between(load.seen, begun_s, calm_until_s)
        troubled += between(load.seen, at_it_s, troubled_until_s)
    load.stop()
    await asking
    return [
        Figure(name, "capacity, answers/s", most_per_s),
        Figure(name, "requests", len(load.seen)),
        *_failures(name, load.seen),
        Figure(name, "hostile connections/s", made / ROUNDS / ROUND_S),
        Figure(name, "memory grew by MB", grew_mb, GREW_MB_MAX),
        Figure(name, "p99 ms without them", p99_ms(calm)),
        Figure(name, "p99 ms with them", p99_ms(troubled), P99_RATIO_MAX * p99_ms(calm)),
    ]


async def trouble_for(port: int, seconds: float) -> asyncio.subprocess.Process:
    """A process of hostile clients, once they are at it."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drill.hostile", str(port), str(seconds)), stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(content(CHEAP, PATIENT_MS))
    process.stdin.close()
    await process.stdout.readline()
    return process


async def most_mb(house: House, seconds: float) -> float:
    """The most that the gateway and its replicas hold in that time."""
    most, until_s = 0.0, time.monotonic() + seconds
    while time.monotonic() < until_s:
        await asyncio.sleep(MEMORY_LOOK_S)
        most = max(most, await asyncio.to_thread(house.memory_mb))
    return most


async def overload(house: House, seconds: float) -> list[Figure]:
    """Ten times what the dear model can answer, between two times of a load it can bear."""
    name, port = f"{TIMES:g}x overload, {seconds:g} s", house.gateway.port
    most_per_s = fmean(await capacity(house, DEAR))
    steady = Load(port, content(DEAR, DEADLINE_MS), SHARE * most_per_s)
    steady_s = time.monotonic() + SETTLES_S
    before = p99_ms(between(await steady.run(CALM_S), steady_s))
    refused_before = await asyncio.to_thread(house.gateway.buckets, REFUSED)
    flood = Load(port, content(DEAR, DEADLINE_MS), TIMES * most_per_s)
    await flood.connect(FLOOD_LINES)
    begun_s = time.monotonic()
    seen, late_ms, probes = await asyncio.gather(
        flood.run(seconds), lateness_ms(seconds), probe(port, seconds, content(DEAR, DEADLINE_MS))
    )
    good = [one for one in seen if one[2] == 200]
    refused = [one for one in seen if one[2] in REFUSALS]
    turned_away = [one for one in probes if one.status in REFUSALS]
    in_time = sum(due_s + took_s <= begun_s + seconds and took_s * 1e3 <= DEADLINE_MS for due_s, took_s, _ in good)
    calm_s = time.monotonic()
    refused_after = await asyncio.to_thread(house.gateway.buckets, REFUSED)
    after = await Load(port, content(DEAR, DEADLINE_MS), SHARE * most_per_s).run(WATCHED_S)
    return [
        Figure(name, "capacity, answers/s", most_per_s),
        Figure(name, "asked/s", len(seen) / seconds),
        Figure(name, "goodput, share of capacity", in_time / seconds / most_per_s, GOODPUT_MIN, is_least=True),
        Figure(name, "admitted p99 ms", p99_ms(good), DEADLINE_MS),
        Figure(name, "refused", len(refused)),
        Figure(name, "refused p99 ms", p99_ms(refused) if refused else 0.0, REFUSED_MS_MAX),
        Figure(name, "of it in the gateway, up to", quantile_ms(refused_before, refused_after)),
        Figure(name, "the client was late by p99 ms", late_ms),
        Figure(name, "a light client's p99 ms", quantile(one.read_s for one in turned_away) * 1e3),
        Figure(name, "until its system had it", quantile(one.arrived_s for one in turned_away) * 1e3),
        Figure(name, "neither", len(seen) - len(good) - len(refused), 0),
        Figure(name, "p99 ms before", before),
        Figure(name, "normal after s", _normal_after_s(after, calm_s, before), NORMAL_S_MAX),
    ]


async def lateness_ms(seconds: float) -> float:
    """By how much this process itself comes too late to what is due: the 99th percentile of that time."""
    late_s: list[float] = []
    until_s = time.monotonic() + seconds
    while (now_s := time.monotonic()) < until_s:
        await asyncio.sleep(TICK_S)
        late_s.append(time.monotonic() - now_s - TICK_S)
    return quantile(late_s) * 1e3


def quantile(figures: Iterable[float], part: float = 0.99) -> float:
    """The figure below which that part of all lies; 0 if there are none."""
    known = sorted(figures)
    return known[int(part * len(known))] if known else 0.0


def quantile_ms(before: dict[float, float], after: dict[float, float], part: float = 0.99) -> float:
    """The bound of the first bucket of a histogram below which that part of what came between lies."""
    came = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    return next((bound for bound, count in came.items() if count >= part * max(came.values())), 0.0) * 1e3


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


Scene = Callable[[House], Awaitable[list[Figure]]]


def scenes(away_s: float, overload_s: float) -> dict[str, Scene]:
    """All of them, in their order, by the names they are asked for by."""

    def breaking(
        name: str, breaks: Callable[[House], dict[str, float]], bounds: dict[str, float] | None = None
    ) -> Scene:
        return lambda house: fault(name, house, partial(breaks, house), bounds or {})

    return {
        "kill": breaking("a replica is killed", House.kill),
        "stop": breaking("a replica is stopped", House.stop, {"out after s": OUT_S_MAX}),
        "broken": breaking("a broken revision", House.publish_broken),
        "roll": breaking("a rolling update", House.roll),
        "control": breaking("control plane is away", lambda house: house.leave_alone(away_s)),
        "hostile": misuse,
        "overload": lambda house: overload(house, overload_s),
    }


async def every(house: House, chosen: Iterable[Scene], tell: Callable[[list[Figure]], None]) -> bool:
    """One after the other, each told when it is over; true if every goal is met."""
    told: list[Figure] = []
    for scene in chosen:
        begun = others.now([psutil.Process()])
        figures = await scene(house)
        other, name = begun.until(others.now([psutil.Process()])), figures[0].scene
        figures += [
            Figure(name, "host took, share of cores", other.stolen),
            Figure(name, "others had, share of cores", other.foreign),
        ]
        tell(figures)
        told.extend(figures)
    return all(figure.is_met for figure in told)
