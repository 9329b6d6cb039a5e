"""What the board decides, in the runs' words: what to start and with what, what to stop, and what is over."""

from sill.core.values import Value
from sill.runs.types import Given
from sill.scheduler.types import Start


class Stop(Value, frozen=True):
    """A running run that is to be stopped: it waits again until then, or is over."""

    project: str
    run_id: str
    reason: str
    until_us: int
    is_end: bool = False


class Decision(Value, frozen=True):
    """What to do now: (project, id) of runs to start, runs to stop, and waiting runs that are over (with why)."""

    starts: list[tuple[str, str]]
    stops: list[Stop]
    ends: list[Stop]
    version: str
    """Of the declarations it was made on."""
    given: dict[str, Given]
    """Devices and workers of those starts that need devices, by id of the run."""


def given_to(start: Start) -> Given:
    """What a start takes of this machine."""
    slot = start.slots[0]
    return Given(accelerator=start.accelerator, devices=slot.devices, workers=slot.workers)
