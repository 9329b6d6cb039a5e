"""How many workers each elastic gang gets: deadlines first, then whoever gains most from one more device.

A gang with a deadline is promised it when the fewest workers that still make it are free beside those of all promised
before; from then on it never gets fewer. What is left goes, device by device, where it adds most throughput. Nothing here
looks at nodes: `resizing` finds the places. Source: Gu et al., "ElasticFlow: an elastic serverless training platform for
distributed deep learning", ASPLOS 2023 (minimum satisfactory share, marginal return); here a share is constant in time, so
that a promise is one comparison, and short work is promised before long.
"""

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush

from sill.scheduler.types import Job

GAIN = 3.0
"""A running gang grows only if it ends earlier by so many times its restart."""
SIZES_MAX = 32
"""So many sizes of one gang are considered at most."""

Sizes = tuple[tuple[int, float], ...]
"""Numbers of workers, growing, and how many times as fast as with `Job.workers` each is."""


def sizes_of(job: Job) -> Sizes:
    """The sizes worth having: each is faster than all smaller ones."""
    least, most = job.min_workers or job.workers, job.max_workers or job.workers
    if job.scaling:
        known = sorted(job.scaling.items())
        points = [(workers, speed) for workers, speed in known if least <= workers <= most]
        own = _speed_at(known, job.workers)
    else:
        points = [(workers, float(workers)) for workers in _doubling(least, most)]
        own = float(job.workers)
    found: list[tuple[int, float]] = []
    for workers, speed in points[:SIZES_MAX]:
        if speed > 0 and (not found or speed / own > found[-1][1]):
            found.append((workers, speed / own))
    return tuple(found) or ((job.workers, 1.0),)


class Wish:
    """One elastic gang as the plan sees it.

    Attributes:
        held: workers it has now; 0 if it waits.
        left_s: predicted seconds of work left with `Job.workers`.
        starting_s: seconds until a gang that has just been started or resized goes on working.
        until_s: seconds to its deadline; None without one.
        milli: thousandths of a device of each worker.
        types: accelerator types it may start on, the best first; of a running gang, the one it is on.
        is_promised: its deadline has been promised.
    """

    __slots__ = (
        "held",
        "is_promised",
        "job_id",
        "left_s",
        "milli",
        "restart_s",
        "sizes",
        "starting_s",
        "types",
        "until_s",
    )

    def __init__(
        self,
        job: Job,
        sizes: Sizes,
        types: tuple[str, ...],
        *,
        held: int,
        left_s: float,
        starting_s: float = 0.0,
        until_s: float | None,
        is_promised: bool,
    ) -> None:
        self.job_id = job.id
        self.sizes = sizes
        self.types = types
        self.held = held
        self.left_s = left_s
        self.until_s = until_s
        self.restart_s = job.restart_s
        self.starting_s = starting_s
        self.milli = round(job.accelerators * 1000)
        self.is_promised = is_promised

    def takes_s(self, workers: int) -> float:
        """Seconds until it ends with so many workers from now on."""
        return self._takes_s(workers, next(speed for size, speed in self.sizes if size == workers))

    def _takes_s(self, workers: int, speed: float) -> float:
        return self.left_s / speed + (self.restart_s if workers != self.held else self.starting_s)

    @property
    def least(self) -> int:
        """The fewest workers that make its deadline; 0 if none do."""
        if self.until_s is None:
            return 0
        until_s = self.until_s
        return next((workers for workers, speed in self.sizes if self._takes_s(workers, speed) <= until_s), 0)


class Plan:
    """Sizes by job, and who was promised a deadline by it; a size of 0 is no place."""

    def __init__(self, room: dict[str, int]) -> None:
        self.room = room
        """Thousandths of devices left, by type."""
        self.workers: dict[str, int] = {}
        self.types: dict[str, str] = {}
        self.promised: set[str] = set()

    def give(self, wish: Wish, workers: int, accelerator: str) -> bool:
        """Let it have so many workers in all, if there is room."""
        more = (workers - self.workers.get(wish.job_id, 0)) * wish.milli
        if more > self.room.get(accelerator, 0):
            return False
        self.room[accelerator] -= more
        self.workers[wish.job_id] = workers
        self.types[wish.job_id] = accelerator
        return True


def plan(wishes: Sequence[Wish], room: dict[str, int]) -> Plan:
    """Sizes for all elastic gangs within the room of each accelerator type, in thousandths of devices."""
    made = Plan(dict(room))
    running = [wish for wish in wishes if wish.held]
    waiting = [
        (wish.takes_s(least) * least * wish.milli, at, least)
        for at, wish in enumerate(wishes)
        if not wish.held and (least := wish.least)
    ]
    for wish in running:
        if wish.is_promised:
            made.promised.add(wish.job_id)
            made.give(wish, min(wish.least or wish.held, wish.held), wish.types[0])
    for wish in running:
        if wish.is_promised and wish.least > wish.held:
            made.give(wish, wish.least, wish.types[0])
    for _, at, least in sorted(waiting):
        if any(made.give(wishes[at], least, accelerator) for accelerator in wishes[at].types):
            made.promised.add(wishes[at].job_id)
    for wish in running:
        if wish.job_id not in made.workers and not made.give(wish, wish.sizes[0][0], wish.types[0]):
            made.workers[wish.job_id] = 0
    for wish in running:
        if made.workers[wish.job_id]:
            _keep(made, wish)
    _grow(made, [wish for wish in wishes if made.workers.get(wish.job_id)])
    return made


def _keep(made: Plan, wish: Wish) -> None:
    """Leave a running gang as many of its workers as there is room for."""
    for workers, _ in reversed(wish.sizes):
        if made.workers[wish.job_id] < workers <= wish.held and made.give(wish, workers, made.types[wish.job_id]):
            return


def _grow(made: Plan, wishes: list[Wish]) -> None:
    """Give what is left where a device adds most throughput."""
    heap = [(-worth, at, to) for at, wish in enumerate(wishes) if (step := _step(made, wish)) for worth, to in [step]]
    heapify(heap)
    while heap:
        _, at, workers = heappop(heap)
        wish = wishes[at]
        if made.give(wish, workers, made.types[wish.job_id]) and (step := _step(made, wish)):
            heappush(heap, (-step[0], at, step[1]))


def _step(made: Plan, wish: Wish) -> tuple[float, int] | None:
    """What the next size adds for each device, of the speed of its first; None if growing is not worth a restart."""
    now = made.workers[wish.job_id]
    at = next((at for at, (workers, _) in enumerate(wish.sizes) if workers > now), None)
    if at is None:
        return None
    workers, speed = wish.sizes[at]
    before = next((speed for size, speed in reversed(wish.sizes) if size <= now), 0.0)
    if wish.held and workers > wish.held:
        gained_s = wish.takes_s(wish.held) - wish.left_s / speed
        if gained_s < GAIN * wish.restart_s:
            return None
    first = wish.sizes[0][1] / wish.sizes[0][0]
    return (speed - before) / first / ((workers - now) * max(wish.milli, 1)), workers


def _speed_at(points: list[tuple[int, float]], workers: int) -> float:
    """Linear between the given points, in proportion beyond them."""
    below = max((point for point in points if point[0] <= workers), default=None)
    above = min((point for point in points if point[0] >= workers), default=None)
    if below and above:
        if below[0] == above[0]:
            return below[1]
        part = (workers - below[0]) / (above[0] - below[0])
        return below[1] + part * (above[1] - below[1])
    nearest = below or above or (1, 1.0)
    return nearest[1] * workers / nearest[0]


def _doubling(least: int, most: int) -> Iterable[int]:
    workers = max(least, 1)
    while workers < most:
        yield workers
        workers *= 2
    yield most
