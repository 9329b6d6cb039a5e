"""When a waiting job will start: the same core, run forward on a fork of the state with run times drawn from what was
learned, and an interval around it that is widened or narrowed by how well earlier ones held (`calibration`).

Nothing here changes a decision. Draws are a fixed sequence by job, so that the same state gives the same answer.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from sill.core.values import Value
from sill.scheduler.calibration import Calibration, Side
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
PENDING_MAX = 10_000
BOUNDS_MAX = 4 * PENDING_MAX
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


class _Told:
    """An interval that was shown, and which of its sides are not judged yet."""

    __slots__ = ("made", "sides")

    def __init__(self, made: StartInterval, calibration: Calibration) -> None:
        self.made = made
        self.sides = [calibration.low, calibration.high]
        for side in self.sides:
            side.tell()

    def judge(self, side: Side, is_missed: bool) -> None:
        """Whether the start was on that side of it is known by now, if it was not before."""
        if side in self.sides:
            self.sides.remove(side)
            side.judge(is_missed)


class Forecaster:
    """Forecasts of one scheduler, and what became of them."""

    def __init__(self) -> None:
        self._calibration = Calibration()
        self._pending: dict[str, _Told] = {}
        self._bounds: list[tuple[int, int, _Told]] = []
        """When the bounds of those pass."""
        self._numbers = 0

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
        low_s, high_s = self._calibration.around(wait_s)
        made = StartInterval(
            job_id=job_id,
            made_us=state.now_us,
            expected_us=state.now_us + round(wait_s * 1e6),
            low_us=state.now_us + round(low_s * 1e6),
            high_us=state.now_us + round(high_s * 1e6),
            is_calibrated=self._calibration.is_known,
        )
        if job_id not in self._pending and len(self._pending) < PENDING_MAX:  # the first that was shown is judged
            self._follow(made)
        return made

    def saw(self, state: State, actions: list[Action]) -> None:
        """Learn from what was started, and from what should have been by now."""
        for action in actions:
            told = self._pending.pop(action.job_id, None) if isinstance(action, Start) else None
            if told is not None:
                made, now_us = told.made, state.now_us
                self._calibration.learn((made.expected_us - made.made_us) / 1e6, (now_us - made.made_us) / 1e6)
                told.judge(self._calibration.low, now_us < made.low_us)
                told.judge(self._calibration.high, now_us > made.high_us)
        while self._bounds and self._bounds[0][0] < state.now_us:
            self._pass(state, heappop(self._bounds)[2])
        if len(self._pending) >= PENDING_MAX or len(self._bounds) >= BOUNDS_MAX:
            self._forget(state)

    def _follow(self, made: StartInterval) -> None:
        told = self._pending[made.job_id] = _Told(made, self._calibration)
        for bound_us in (made.low_us, made.high_us):
            self._numbers += 1
            heappush(self._bounds, (bound_us, self._numbers, told))

    def _pass(self, state: State, told: _Told) -> None:
        """A bound of an interval has passed: if its job waits still, one side is known."""
        if self._pending.get(told.made.job_id) is not told:
            return
        if told.made.job_id not in state.entries:
            self._drop(told)
            return
        told.judge(self._calibration.low, False)
        if told.made.high_us < state.now_us:
            told.judge(self._calibration.high, True)

    def _forget(self, state: State) -> None:
        """Follow no longer what is gone without a start, nor the bounds of what has started."""
        for told in [each for name, each in self._pending.items() if name not in state.entries]:
            self._drop(told)
        self._bounds = [each for each in self._bounds if self._pending.get(each[2].made.job_id) is each[2]]
        heapify(self._bounds)

    def _drop(self, told: _Told) -> None:
        del self._pending[told.made.job_id]
        for side in told.sides:
            side.drop()


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
