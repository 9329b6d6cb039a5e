"""How much of the machine's processors went to others while something was measured: what its figures are worth."""

import time
from collections.abc import Iterable

import msgspec
import psutil


class Others(msgspec.Struct, frozen=True):
    """Shares of all processors.

    Attributes:
        stolen: what the host gave to other machines.
        foreign: what processes had that are no part of what is measured.
    """

    stolen: float
    foreign: float


class Moment(msgspec.Struct, frozen=True):
    """Seconds of processor time since the machine was started, all processors together."""

    at_s: float
    stolen_s: float
    busy_s: float
    own_s: float

    def until(self, later: "Moment") -> Others:
        """What others had between the two."""
        whole_s = (later.at_s - self.at_s) * (psutil.cpu_count() or 1)
        own_s, busy_s = later.own_s - self.own_s, later.busy_s - self.busy_s
        return Others((later.stolen_s - self.stolen_s) / whole_s, max(0.0, busy_s - own_s) / whole_s)


def now(own: Iterable[psutil.Process]) -> Moment:
    """This moment.

    Args:
        own: the processes that are measured or measure; their children count as well.
    """
    times, own_s = psutil.cpu_times(), 0.0
    for process in own:
        for one in (process, *process.children(recursive=True)):
            used = one.cpu_times()
            own_s += used.user + used.system + used.children_user + used.children_system
    busy_s = times.user + times.nice + times.system + times.irq + times.softirq
    return Moment(time.monotonic(), times.steal, busy_s, own_s)
