"""Whether a replica gets requests: a small machine of states, told what was seen of it. Pure; time comes in as an argument."""

SILENT_S = 1.0
"""A replica whose probe is not answered for so long gets no requests."""
LAST_SILENT_S = 4.0
"""The same for the last one that serves."""
GOOD_PROBES = 2
"""Good probes in a row that bring an ejected replica back."""
FAULTS_MAX = 5
"""Broken answers in a row after which it gets no requests."""
EJECTED_S, EJECTED_S_MAX = 1.0, 30.0
"""How long a replica stays away at least, doubled each time it is ejected again soon."""
FORGIVEN_S = 60.0
UNREADY_S, UNREADY_S_MAX = 5.0, 30.0
"""A new replica that lives but does not answer every endpoint is let in after so long: one endpoint may be broken for
good. It is given the longer time while others do answer every endpoint."""


class Health:
    """What is known of one replica. New ones get requests after their first good probe."""

    def __init__(self) -> None:
        self.is_admitted = False
        self.reason = "it starts"
        self._good_probes = GOOD_PROBES - 1
        self._faults = 0
        self._ejections = 0
        self._ejected_s = self._until_s = float("-inf")
        self._alive_s: float | None = None

    def probe_answered(self, now_s: float, is_ready: bool, patience_s: float = UNREADY_S) -> None:
        """A probe was answered in time; not ready: some endpoint of its plan has no model yet.

        Args:
            patience_s: how long it may stay so before it gets requests all the same.
        """
        if self.is_admitted:
            return
        self._alive_s = now_s if self._alive_s is None else self._alive_s
        if not is_ready and now_s - self._alive_s < patience_s:
            return
        self._good_probes += 1
        if self._good_probes >= GOOD_PROBES and now_s >= self._until_s:
            self.is_admitted, self.reason, self._faults = True, "", 0

    def eject(self, now_s: float, reason: str) -> None:
        """It gets no requests until probes are good again. Repeats change the reason only."""
        self._good_probes = 0
        self._alive_s = None
        if self.is_admitted:
            self._ejections = self._ejections + 1 if now_s - self._ejected_s < FORGIVEN_S else 1
            self._ejected_s = now_s
            self._until_s = now_s + min(EJECTED_S * 2 ** (self._ejections - 1), EJECTED_S_MAX)
        self.is_admitted, self.reason = False, reason

    def answered(self, now_s: float, is_fault: bool) -> None:
        """A request was answered; a fault is one of the replica itself, not a refusal."""
        self._faults = self._faults + 1 if is_fault else 0
        if self._faults >= FAULTS_MAX and self.is_admitted:
            self.eject(now_s, f"{FAULTS_MAX} broken answers in a row")


def slow_one(latencies_s: dict[str, float], ratio: float = 3.0, floor_s: float = 0.05) -> str | None:
    """The replica that is far slower than the others, if there is one.

    Args:
        latencies_s: a moving mean for each admitted replica.
        ratio: how many times the others' median counts as far.
        floor_s: faster ones are never too slow.
    """
    if len(latencies_s) < 2:
        return None
    name, worst_s = max(latencies_s.items(), key=lambda one: one[1])
    others = sorted(seconds for other, seconds in latencies_s.items() if other != name)
    return name if worst_s > max(floor_s, ratio * others[len(others) // 2]) else None
