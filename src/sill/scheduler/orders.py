"""Which job comes first: orders are plug-ins that give each job an index, the lowest first.

Sources: Schrage and Miller 1966 (SRPT, here `srtf`; `srsf` weighs it by devices); Gu et al., "Tiresias", NSDI 2019
(`las`, two queues by attained service; Gittins index); Gittins 1979; Corbató et al. 1962 (`mlfq`).
"""

from collections.abc import Callable, Iterable
from math import inf
from typing import Protocol

from sill.core.errors import NotFound
from sill.scheduler.critical import CriticalFirst
from sill.scheduler.entries import Entry
from sill.scheduler.prediction import BIN_RATIO, BINS, Predictor, RunTimes, bin_of
from sill.scheduler.rounds import Rounds, finish_time, max_min
from sill.scheduler.survival import GROUP_MIN, ages_by_group, expected_lengths

LAS_THRESHOLD_S = 3_250.0
"""Device-seconds after which a job falls to the second queue (Tiresias' own setting)."""
MLFQ_FIRST_S = 60.0
STEP_RATIO = 1.1
"""A running job's index is looked at again when it is so many times as high; a lower one harms nobody."""
REFIT_RATIO = 1.05
"""Indexes are computed anew when there are so many times as many ends as the last time."""


class Order(Protocol):
    """Gives each job its index.

    Attributes:
        version: changes when indexes of waiting jobs have to be computed anew.
        by_time: the index grows with the predicted time left.
        drifts: the index of a running job changes all the time; otherwise only at `changes_us`.
    """

    version: int
    by_time: bool
    drifts: bool

    def key(self, entry: Entry, now_us: int) -> float:
        """The job's index now; the lowest is served first."""
        ...

    def changes_us(self, entry: Entry, now_us: int) -> int:
        """When the index of a running job changes next; 0 for never."""
        ...

    def learn(self, entry: Entry, seconds: float) -> None:
        """A job ended by itself after so many seconds of work. `Predictor` has learned of it already."""
        ...

    def survey(self, entries: Iterable[Entry], devices: float, now_us: int) -> None:
        """Look at all jobs, on so many devices, before a decision: for orders in which a place depends on the others."""
        ...


class Fixed:
    """An order whose index does not change while a job runs, or only in a way nobody has to be woken for."""

    version = 0

    def __init__(self, index: Callable[[Entry, int], float], *, drifts: bool = False, by_time: bool = False) -> None:
        self.key = index
        self.by_time = by_time
        self.drifts = drifts

    def changes_us(self, entry: Entry, now_us: int) -> int:
        return 0

    def learn(self, entry: Entry, seconds: float) -> None:
        return

    def survey(self, entries: Iterable[Entry], devices: float, now_us: int) -> None:
        return


class Levels:
    """Orders by attained service in levels: a job falls from one to the next as it is served.

    Args:
        edges: device-seconds (or seconds) at which a level ends, growing.
        by_service: service counts each device's time; otherwise time alone counts.
    """

    version = 0
    by_time = False
    drifts = False

    def __init__(self, edges: tuple[float, ...], *, by_service: bool) -> None:
        self._edges = edges
        self._by_service = by_service

    def key(self, entry: Entry, now_us: int) -> float:
        had = entry.work_us(now_us) / 1e6 * self._weight(entry)
        return float(sum(had >= edge for edge in self._edges))

    def changes_us(self, entry: Entry, now_us: int) -> int:
        weight = self._weight(entry)
        had = entry.work_us(now_us) / 1e6 * weight
        following = next((edge for edge in self._edges if edge > had), 0.0)
        return now_us + round((following - had) / weight * 1e6) + 1 if following else 0

    def learn(self, entry: Entry, seconds: float) -> None:
        return

    def survey(self, entries: Iterable[Entry], devices: float, now_us: int) -> None:
        return

    def _weight(self, entry: Entry) -> float:
        return entry.devices if self._by_service else 1.0


class Gittins:
    """The index of Gittins, learned as jobs end: the least expected device-time per end, over all ways to go on.

    With no knowledge of a job but its group and its age it is optimal for the mean on one machine, and close to it here.
    """

    by_time = False
    drifts = False

    def __init__(self, predictor: Predictor) -> None:
        self.version = 0
        self._predictor = predictor
        self._tables: dict[int, list[float]] = {}
        self._due = 1.0
        self._is_old = False
        self._ages: dict[int, list[float]] = {}

    def key(self, entry: Entry, now_us: int) -> float:
        level = bin_of(entry.work_us(now_us) / 1e6)
        return self._table(self._predictor.group(entry.job, GROUP_MIN))[min(level, BINS - 1)] * entry.devices

    def changes_us(self, entry: Entry, now_us: int) -> int:
        had_s = entry.work_us(now_us) / 1e6
        level = bin_of(had_s)
        table = self._table(self._predictor.group(entry.job, GROUP_MIN))
        worse = next((at for at in range(level + 1, BINS) if table[at] > table[level] * STEP_RATIO), 0)
        return now_us + round((BIN_RATIO**worse - had_s) * 1e6) + 1 if worse else 0

    def learn(self, entry: Entry, seconds: float) -> None:
        if self._predictor.everything.version >= self._due:
            self._due = self._predictor.everything.version * REFIT_RATIO + 1
            self._is_old = True

    def survey(self, entries: Iterable[Entry], devices: float, now_us: int) -> None:
        if self._is_old:
            self._is_old = False
            self._ages = ages_by_group(entries, self._predictor, now_us)
            self._tables = {}
            self.version += 1

    def _table(self, group: RunTimes) -> list[float]:
        known = self._tables.get(group.number)
        if known is None:
            known = self._tables[group.number] = gittins_indexes(
                expected_lengths(group, self._predictor.everything, self._ages)
            )
        return known


def gittins_indexes(spread: list[tuple[float, float]]) -> list[float]:
    """For each bin of age: the least, over all spans, of expected time spent per end within the span, in seconds.

    Args:
        spread: (run time in seconds, how many ended then), growing.
    """
    found: list[float] = []
    for level in range(BINS):
        age_s = 0.0 if level == 0 else BIN_RATIO**level
        ahead = [(seconds - age_s, many) for seconds, many in spread if seconds > age_s]
        if not ahead:
            found.append(max(age_s, 1.0))
            continue
        left = sum(many for _, many in ahead)
        spent = ended = 0.0
        best = inf
        for span_s, many in ahead:
            ended += many
            spent += many * span_s
            best = min(best, (spent + (left - ended) * span_s) / ended)
        found.append(best)
    return found


def order_named(name: str, predictor: Predictor) -> Order:
    """The order plug-in of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in ORDERS:
        raise NotFound(f"no order {name!r}.", fix=f"There are {', '.join(sorted(ORDERS))}.", field="order")
    return ORDERS[name](predictor)


def _predicted(predictor: Predictor) -> Order:
    return Fixed(lambda entry, now_us: predictor.total_s(entry.job), by_time=True)


def _left(predictor: Predictor) -> Order:
    return Fixed(
        lambda entry, now_us: predictor.left_s(entry.job, entry.work_us(now_us) / 1e6), drifts=True, by_time=True
    )


def _left_service(predictor: Predictor) -> Order:
    return Fixed(
        lambda entry, now_us: predictor.left_s(entry.job, entry.work_us(now_us) / 1e6) * entry.devices, drifts=True
    )


ORDERS: dict[str, Callable[[Predictor], Order]] = {
    "fifo": lambda predictor: Fixed(lambda entry, now_us: 0.0),
    "sjf": _predicted,
    "srtf": _left,
    "srsf": _left_service,
    "edf": lambda predictor: Fixed(lambda entry, now_us: float(entry.job.deadline_us or inf)),
    "las": lambda predictor: Levels((LAS_THRESHOLD_S,), by_service=True),
    "mlfq": lambda predictor: Levels(tuple(MLFQ_FIRST_S * 2**power for power in range(24)), by_service=True),
    "gittins": Gittins,
    "critical": CriticalFirst,
    "max_min": lambda predictor: Rounds(predictor, max_min),
    "finish_time": lambda predictor: Rounds(predictor, finish_time),
}
