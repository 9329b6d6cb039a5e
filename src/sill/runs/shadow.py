"""A policy in shadow: what it would decide where another decides, noted and compared. It changes nothing."""

from collections import deque

from sill.scheduler.rules import Scheduler, named_policy
from sill.scheduler.simulation.types import ShadowDifference, ShadowReport
from sill.scheduler.types import Preempt, Start

EVERY_US = 1_000_000
"""At most this often is a decision compared: it takes a copy of the state."""
KNOWN_MAX = 5_000
"""With more runs waiting and running, nothing is compared: the copy would hold decisions up."""
LAST_MAX = 200


class Shadow:
    """One policy beside the one that decides.

    Raises:
        NotFound: there is no policy of that name.
    """

    def __init__(self, policy: str, scheduler: Scheduler) -> None:
        self._policy = named_policy(policy)
        self._scheduler = scheduler
        self._told: tuple[set[str], set[str]] | None = None
        self._looked_us = -EVERY_US
        self._since_us = 0
        self._compared = self._same = self._ours = self._theirs = 0
        self._last: deque[ShadowDifference] = deque(maxlen=LAST_MAX)
        self._noted: set[tuple[str, str, bool]] = set()

    def foresee(self, now_us: int) -> None:
        """Let it decide on a copy, before the other decides."""
        self._told = None
        state = self._scheduler.state
        waits = len(state.entries) > len(state.running)
        if not waits or len(state.entries) > KNOWN_MAX or 0 <= now_us - self._looked_us < EVERY_US:
            return
        self._looked_us = now_us
        self._since_us = self._since_us or now_us
        actions = self._scheduler.foresee(self._policy, now_us)
        starts = {each.job_id for each in actions if isinstance(each, Start)}
        self._told = starts, {each.job_id for each in actions if isinstance(each, Preempt)}

    def compare(self, starts: set[str], stops: set[str], now_us: int) -> None:
        """Note in what the other decided otherwise. A difference that lasts is noted once."""
        if self._told is None:
            return
        self._compared += 1
        lasting: set[tuple[str, str, bool]] = set()
        for what, ours, theirs in (("start", starts, self._told[0]), ("stop", stops, self._told[1])):
            self._same += len(ours & theirs)
            for is_ours, alone in ((True, ours - theirs), (False, theirs - ours)):
                for run_id in sorted(alone):
                    lasting.add((run_id, what, is_ours))
                    if (run_id, what, is_ours) not in self._noted:
                        self._note(ShadowDifference(at_us=now_us, run_id=run_id, what=what, is_ours=is_ours))
        self._noted = lasting

    def report(self) -> ShadowReport:
        """What has come of it so far."""
        return ShadowReport(
            policy=self._scheduler.state.policy.name,
            shadow=self._policy.name,
            since_us=self._since_us,
            compared=self._compared,
            same=self._same,
            ours=self._ours,
            theirs=self._theirs,
            last=tuple(reversed(self._last)),
        )

    def _note(self, difference: ShadowDifference) -> None:
        self._last.append(difference)
        if difference.is_ours:
            self._ours += 1
        else:
            self._theirs += 1
