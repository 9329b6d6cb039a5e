"""When a waiting job will start: the same core, run forward on a fork of the state with run times drawn from what was
learned, and an interval around it that is widened or narrowed by how well earlier ones held.

Nothing here changes a decision. Draws are a fixed sequence by job, so that the same state gives the same answer.
Sources: Romano, Patterson and Candès, "Conformalized quantile regression", NeurIPS 2019 (the interval is a quantile of past
misses); Gibbs and Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021 (its level follows them).
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from math import exp, log

from sill.core.values import Value
from sill.scheduler.decide import choose
from sill.scheduler.entries import Entry, Phase
from sill.scheduler.folding import happen
from sill.scheduler.forks import fork
from sill.scheduler.state import State
from sill.scheduler.types import Action, Ended, Event, Preempt, Start, Stopped, Tick

DRAWS = 3
"""Runs forward for one forecast; the middle one counts."""
DECISIONS_MAX = 2_000
"""A run forward is given up after so many decisions; then nothing is said."""
COVERAGE = 0.8
WINDOW = 400
"""So many past forecasts say how wide the next interval is."""
SCORES_MIN = 20
PRIOR_RATIO = 4.0
"""Before that many have come true, the interval reaches from a quarter of the forecast to four times it."""
GAIN = 0.02
"""How fast the level follows misses."""
FLOOR_S = 60.0
"""Added to waits before they are compared as ratios: a minute is about as good as nothing."""
CLASSES_S = (600.0, 7_200.0, 86_400.0)
"""Forecasts up to ten minutes, two hours, a day and beyond are calibrated apart."""
PENDING_MAX = 10_000
WAITING_MAX = 5_000
"""With more jobs waiting nothing is run forward."""


class StartInterval(Value, frozen=True, kw_only=True):
    """When a job starts by forecast: four of five start between `low_us` and `high_us`."""

    job_id: str
    made_us: int
    expected_us: int
    low_us: int
    high_us: int
    is_calibrated: bool
    """False while too few forecasts have come true to say how wide the interval must be."""


class Calibration:
    """How far starts were from their forecasts: ratios of waits, in logarithms."""

    def __init__(self) -> None:
        self._scores: deque[float] = deque(maxlen=WINDOW)
        self._below = self._above = (1 - COVERAGE) / 2

    @property
    def is_known(self) -> bool:
        """True once enough forecasts have come true."""
        return len(self._scores) >= SCORES_MIN

    def around(self, wait_s: float) -> tuple[float, float]:
        """The shortest and the longest wait that the interval around a forecast reaches to."""
        spread = log(PRIOR_RATIO)
        low, high = -spread, spread
        if self.is_known:
            ordered = sorted(self._scores)
            low, high = _quantile(ordered, self._below), _quantile(ordered, 1 - self._above)
        return max(_scaled(wait_s, low), 0.0), max(_scaled(wait_s, high), 0.0)

    def learn(self, wait_s: float, low_s: float, high_s: float, was_s: float) -> None:
        """A forecast of `wait_s` within these bounds came true as `was_s`."""
        self._scores.append(_score(wait_s, was_s))
        target = (1 - COVERAGE) / 2
        self._below = min(max(self._below + GAIN * (target - (was_s < low_s)), 0.0), 0.5)
        self._above = min(max(self._above + GAIN * (target - (was_s > high_s)), 0.0), 0.5)


class Forecaster:
    """Forecasts of one scheduler, and what became of them."""

    def __init__(self) -> None:
        self._calibrations = tuple(Calibration() for _ in range(len(CLASSES_S) + 1))
        """Short forecasts go wrong in other ways than long ones."""
        self._pending: dict[str, StartInterval] = {}

    def forecast(self, state: State, job_id: str) -> StartInterval | None:
        """When a job that waits starts; None if it does not wait, or nothing can be said."""
        entry = state.entries.get(job_id)
        is_waiting = entry is not None and entry.phase in (Phase.WAITING, Phase.AWAY)
        if not is_waiting or len(state.entries) - len(state.running) > WAITING_MAX:
            return None
        waits = sorted(found for draw in range(DRAWS) if (found := run_forward(state, job_id, draw)) is not None)
        if len(waits) * 2 <= DRAWS:
            return None
        wait_s = waits[len(waits) // 2]
        calibration = self._calibrations[bisect_right(CLASSES_S, wait_s)]
        low_s, high_s = calibration.around(wait_s)
        made = StartInterval(
            job_id=job_id,
            made_us=state.now_us,
            expected_us=state.now_us + round(wait_s * 1e6),
            low_us=state.now_us + round(low_s * 1e6),
            high_us=state.now_us + round(high_s * 1e6),
            is_calibrated=calibration.is_known,
        )
        if len(self._pending) < PENDING_MAX:
            self._pending.setdefault(job_id, made)  # the first that was shown is the one that is judged
        return made

    def saw(self, state: State, actions: list[Action]) -> None:
        """Learn from what was started."""
        for action in actions:
            made = self._pending.pop(action.job_id, None) if isinstance(action, Start) else None
            if made is not None:
                wait_s, low_s, high_s, was_s = (
                    (at_us - made.made_us) / 1e6
                    for at_us in (made.expected_us, made.low_us, made.high_us, state.now_us)
                )
                self._calibrations[bisect_right(CLASSES_S, wait_s)].learn(wait_s, low_s, high_s, was_s)
        if len(self._pending) >= PENDING_MAX:
            self._pending = {name: made for name, made in self._pending.items() if name in state.entries}


def run_forward(state: State, job_id: str, draw: int = 0) -> float | None:
    """Seconds until a job starts if nothing more is submitted, with one draw of run times; None if it does not."""
    for at_us, what in play(fork(state), draw, DECISIONS_MAX):
        if isinstance(what, Start) and what.job_id == job_id:
            return (at_us - state.now_us) / 1e6
    return None


def play(ahead: State, draw: int = 0, decisions_max: int = DECISIONS_MAX) -> Iterator[tuple[int, Action | Ended]]:
    """What becomes of a state if nothing more is submitted, with one draw of run times: decisions and ends, with their
    times. The state is changed, so it is a fork."""
    ends = [(_ends_us(ahead, entry, draw), entry.number, name) for name, entry in ahead.running.items()]
    heapify(ends)
    events: list[Event] = [Tick()]
    for _ in range(decisions_max):
        for event in events:
            happen(ahead, event, ahead.now_us)
            if isinstance(event, Ended):
                yield ahead.now_us, event
        events = []
        for action in choose(ahead):
            entry = ahead.entries[action.job_id]
            yield ahead.now_us, action
            if isinstance(action, Start):
                heappush(ends, (_ends_us(ahead, entry, draw), entry.number, action.job_id))
            elif isinstance(action, Preempt):
                events.append(Stopped(job_id=action.job_id, attempt=action.attempt))
        if not events:
            now_us = _next_us(ahead, ends)
            if now_us < 0 or not ahead.entries:
                return
            events = _due(ahead, ends, now_us)
            ahead.now_us = max(ahead.now_us, now_us)


def _next_us(ahead: State, ends: list[tuple[int, int, str]]) -> int:
    """When something happens next; -1 for never."""
    times = [ends[0][0]] if ends else []
    if ahead.wake_us:
        times.append(ahead.wake_us)
    return min(times, default=-1)


def _due(ahead: State, ends: list[tuple[int, int, str]], now_us: int) -> list[Event]:
    """What happens until then. An end teaches nothing: it was made up."""
    events: list[Event] = []
    while ends and ends[0][0] <= now_us:
        at_us, _, name = heappop(ends)
        entry = ahead.running.get(name)
        if entry is not None and at_us > entry.started_us:
            events.append(Ended(job_id=name, attempt=entry.attempt, is_success=False))
    return events or [Tick()]


def _ends_us(ahead: State, entry: Entry, draw: int) -> int:
    """When a running job ends in this draw."""
    had_s = entry.work_us(ahead.now_us) / 1e6
    left_s = ahead.predictor.left_s(entry.job, had_s, _part(entry.job.submitted_us + entry.number, draw))
    return ahead.now_us + max(round(left_s * 1e6), 1)


def _part(number: int, draw: int) -> float:
    """A number between 0.02 and 0.98 that looks like chance, the same each time."""
    mixed = (number * 2_654_435_761 + draw * 40_503 * 65_537 + 12_345) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 2_246_822_519) & 0xFFFFFFFF
    mixed ^= mixed >> 13
    return 0.02 + 0.96 * mixed / 0xFFFFFFFF


def _score(wait_s: float, was_s: float) -> float:
    return log((was_s + FLOOR_S) / (wait_s + FLOOR_S))


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(max(int(part * len(ordered)), 0), len(ordered) - 1)]


def _scaled(wait_s: float, score: float) -> float:
    return (wait_s + FLOOR_S) * exp(score) - FLOOR_S
