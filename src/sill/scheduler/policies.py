"""The policies there are by name: baselines and ours. One core runs them all; they differ in settings only."""

import msgspec

from sill.core.errors import NotFound
from sill.scheduler.types import Policy

GRACE_S = 300.0
"""How long a job within its queue's guarantee waits before it takes back what others have borrowed."""
_DRAIN = Policy(
    name="drain",
    order="sjf",
    fair=False,
    reservations=16,
    patience_s=3600.0,
    patience_ratio=3.0,
    drain_s=1800.0,
    revokes=True,
)
"""Shortest predicted first, and nodes drained for gangs that others would overtake for ever."""
PATIENCE_S = 60.0
"""How long a blocked run of the platform may be overtaken before what it lacks is kept for it."""
STARVED_S = 3600.0
"""A run of the platform that waits for longer comes first in its project."""
_LOCAL = Policy(
    name="local",
    reservations=4,
    reserve_from=0.0,
    patience_s=PATIENCE_S,
    starved_s=STARVED_S,
    reclaims=True,
    grace_s=GRACE_S,
)
"""One machine: projects share by dominant share, then priority, then time; what a blocked run lacks is kept for it after a
minute, and after an hour it comes first."""
_ALL = (
    _LOCAL,
    Policy(name="fifo", strict=True, fair=False),
    Policy(name="fifo-skip", fair=False),
    Policy(name="easy", fair=False, reservations=1, reserve_from=0.0),
    Policy(name="conservative", fair=False, reservations=64, reserve_from=0.0),
    Policy(name="sjf", order="sjf", fair=False, strict=True),
    Policy(name="sjf-skip", order="sjf", fair=False),
    Policy(name="srtf", order="srtf", fair=False, preempts=True),
    Policy(name="srsf", order="srsf", fair=False, preempts=True),
    Policy(name="las", order="las", fair=False, preempts=True),
    Policy(name="mlfq", order="mlfq", fair=False, preempts=True),
    Policy(name="gittins", order="gittins", fair=False, preempts=True, margin=0.4),
    Policy(name="critical", order="critical", fair=False, preempts=True, margin=0.3),
    Policy(name="gavel", order="max_min", fair=False, preempts=True),
    Policy(name="themis", order="finish_time", fair=False, preempts=True),
    Policy(name="elastic", order="edf", fair=False, elastic=True),
    Policy(name="drf"),
    _DRAIN,
    msgspec.structs.replace(_DRAIN, name="sill", fair=True, reclaims=True, grace_s=GRACE_S, moves=0.5),
)
POLICIES = {policy.name: policy for policy in _ALL}


def policy_named(name: str) -> Policy:
    """The policy of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in POLICIES:
        raise NotFound(f"no policy {name!r}.", fix=f"There are {', '.join(POLICIES)}.", field="policy")
    return POLICIES[name]
