"""What may happen to an endpoint: its revisions, their states, and how the traffic is split. Pure.

    pending → shadow → canary → live → retired
       └────────┴────────┴───────┴───→ rejected        retired → live is a rollback

At most one revision is live and at most one is on its way in. The live one has what the canary leaves of 100 percent.
"""

from itertools import pairwise

from msgspec.structs import replace

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.core.names import check_name, shorten
from sill.endpoints.types import SLO, Endpoint, EndpointSpec, Revision, RevisionState, Rollout

PENDING, SHADOW, CANARY, LIVE, RETIRED, REJECTED = RevisionState
ROLLING = (PENDING, SHADOW, CANARY)
NEXT: dict[RevisionState, tuple[RevisionState, ...]] = {
    PENDING: (SHADOW, CANARY, LIVE, REJECTED),
    SHADOW: (CANARY, LIVE, REJECTED),
    CANARY: (CANARY, LIVE, REJECTED),
    LIVE: (),
    RETIRED: (LIVE,),
    REJECTED: (),
}
"""Which states may follow. A live revision leaves only when another takes its place."""
REVISIONS_MAX = 100
"""Revisions kept with an endpoint; older retired and rejected ones are dropped."""
STEPS_MAX = 50
REQUESTS_MAX = 10_000_000
REASON_LENGTH_MAX = 1_000
IDLE_S_MAX = 30 * 86_400.0


def check_spec(spec: EndpointSpec) -> None:
    """Refuses an endpoint that cannot be meant.

    Raises:
        InvalidValue: a name, share, time or step is outside what is allowed.
    """
    check_name(spec.project, "project")
    check_name(spec.name)
    check_name(spec.model, "model")
    _check_slo(spec.slo)
    _check_rollout(spec.rollout)
    _between("log_sample", spec.log_sample, 0.0, 1.0)
    _between("idle_s", spec.idle_s, 0.0, IDLE_S_MAX)


def create(spec: EndpointSpec, now_us: int) -> Endpoint:
    """A new endpoint without revisions."""
    return Endpoint(project=spec.project, name=spec.name, model=spec.model, spec=spec, created_us=now_us)


def apply(endpoint: Endpoint, spec: EndpointSpec) -> Endpoint:
    """The endpoint under a changed declaration; its revisions stay.

    Raises:
        Conflict: another model, while revisions of the first one are kept.
    """
    if spec.model != endpoint.model and endpoint.revisions:
        raise Conflict(
            f"endpoint {endpoint.name!r} serves model {endpoint.model!r}; it cannot change to {spec.model!r}.",
            fix="Declare another endpoint, or delete this one first.",
        )
    return replace(endpoint, spec=spec, model=spec.model)


def deploy(endpoint: Endpoint, version: int, now_us: int, *, is_forced: bool = False, reason: str = "") -> Endpoint:
    """A new pending revision of a version; one that was on its way in makes room for it.

    Raises:
        Conflict: the version is live already, or on its way in.
    """
    live, rolling = endpoint.live(), endpoint.rolling()
    for there in (live, rolling):
        if there is not None and there.model_version == version:
            raise Conflict(
                f"version {version} is revision {there.number} of endpoint {endpoint.name!r} already: {there.state}.",
                fix="Deploy another version.",
            )
    if rolling is not None:
        endpoint = move(endpoint, rolling.number, REJECTED, 0, f"replaced by version {version}", now_us)
    number = max((revision.number for revision in endpoint.revisions), default=0) + 1
    fresh = Revision(
        number=number,
        model_version=version,
        state=PENDING,
        reason=shorten(reason, REASON_LENGTH_MAX),
        created_us=now_us,
        state_us=now_us,
        is_forced=is_forced,
    )
    return replace(endpoint, revisions=_bounded((*endpoint.revisions, fresh)))


def move(endpoint: Endpoint, number: int, state: RevisionState, weight: int, reason: str, now_us: int) -> Endpoint:
    """The endpoint after one revision changed its state or its weight.

    Args:
        weight: percent of the traffic; counts for a canary (1 to 100) only, a live revision has what is left.
    Raises:
        NotFound: no revision has this number.
        Conflict: this state may not follow the present one, or there is no live revision to be compared with.
        InvalidValue: a canary's weight is not within 1 to 100.
    """
    revision = find(endpoint, number)
    if state not in NEXT[revision.state]:
        allowed = ", ".join(NEXT[revision.state]) or "none"
        raise Conflict(
            f"revision {number} of endpoint {endpoint.name!r} is {revision.state}; {state} may not follow, allowed: "
            f"{allowed}.",
            fix="Deploy the version again as a new revision."
            if revision.state == REJECTED
            else "Read the endpoint again.",
        )
    if state in (SHADOW, CANARY) and endpoint.live() is None:
        raise Conflict(
            f"endpoint {endpoint.name!r} has no live revision, so revision {number} cannot be {state} beside it.",
            fix="Move it to live.",
        )
    if state == CANARY and not 1 <= weight <= 100:
        raise InvalidValue(f"a canary's weight is 1 to 100 percent, got {weight}.", field="weight")
    if state == LIVE:
        endpoint = _step_aside(endpoint, number, RETIRED, f"revision {number} took over", now_us)
    moved = replace(
        revision,
        state=state,
        weight=weight if state == CANARY else 0,
        reason=shorten(reason, REASON_LENGTH_MAX),
        state_us=now_us,
    )
    return split(_with(endpoint, moved))


def rollback(endpoint: Endpoint, reason: str, now_us: int) -> Endpoint:
    """One step back: a revision on its way in is stopped; without one, the former live revision is live again.

    The revision that is left counts as rejected, so that a second rollback does not return to it.

    Raises:
        Conflict: there is nothing to return to.
    """
    why = f"rolled back: {reason}" if reason else "rolled back"
    rolling, live, former = endpoint.rolling(), endpoint.live(), endpoint.former()
    if rolling is not None:
        return move(endpoint, rolling.number, REJECTED, 0, why, now_us)
    if former is None or live is None:
        raise Conflict(f"endpoint {endpoint.name!r} has no former live revision.", fix="Deploy a version instead.")
    left = _step_aside(endpoint, former.number, REJECTED, why, now_us)
    return move(left, former.number, LIVE, 100, f"returned to from revision {live.number}: {reason}", now_us)


def start(endpoint: Endpoint) -> tuple[RevisionState, int, str] | None:
    """What a pending revision becomes next, its weight and why; None when nothing is pending or the endpoint is paused."""
    rolling = endpoint.rolling()
    if rolling is None or rolling.state != PENDING or endpoint.spec.paused:
        return None
    if endpoint.live() is None:
        return LIVE, 100, "first revision of the endpoint"
    if endpoint.spec.rollout.shadow_requests > 0:
        return SHADOW, 0, f"answers {endpoint.spec.rollout.shadow_requests} requests unseen first"
    return CANARY, endpoint.spec.rollout.steps[0], "first step"


def follow(endpoint: Endpoint, accepted: int, champion: int) -> int:
    """The version that an endpoint which follows its model should deploy now; 0 for none.

    Args:
        accepted: the newest accepted version of the model, 0 for none.
        champion: the version that serves elsewhere; a first revision takes it rather than one that is not proven.
    """
    if not endpoint.spec.auto_rollout:
        return 0
    newest = max((revision.model_version for revision in endpoint.revisions), default=0)
    if endpoint.live() is None and endpoint.rolling() is None and newest == 0:
        return champion or accepted
    return accepted if accepted > newest else 0


def split(endpoint: Endpoint) -> Endpoint:
    """The endpoint with its traffic shared out: the canary has its weight, the live revision the rest, others none."""
    canary = sum(revision.weight for revision in endpoint.revisions if revision.state == CANARY)
    weights = {LIVE: 100 - canary}
    revisions = []
    for revision in endpoint.revisions:
        weight = revision.weight if revision.state == CANARY else weights.get(revision.state, 0)
        revisions.append(replace(revision, weight=weight, weight_max=max(weight, revision.weight_max)))
    return replace(endpoint, revisions=tuple(revisions))


def find(endpoint: Endpoint, number: int) -> Revision:
    """The revision with this number.

    Raises:
        NotFound: there is none.
    """
    for revision in endpoint.revisions:
        if revision.number == number:
            return revision
    known = ", ".join(str(revision.number) for revision in endpoint.revisions) or "none"
    raise NotFound(f"endpoint {endpoint.name!r} has no revision {number}.", fix=f"Revisions: {shorten(known)}.")


def versions_in_use(endpoint: Endpoint) -> set[int]:
    """Versions the endpoint serves, is about to serve, or would roll back to."""
    kept = (endpoint.live(), endpoint.rolling(), endpoint.former())
    return {revision.model_version for revision in kept if revision is not None}


def _step_aside(endpoint: Endpoint, number: int, state: RevisionState, why: str, now_us: int) -> Endpoint:
    """The live revision leaves for another one, and so does one that was on its way in."""
    live, rolling = endpoint.live(), endpoint.rolling()
    if rolling is not None and rolling.number != number:
        endpoint = _with(endpoint, replace(rolling, state=REJECTED, weight=0, reason=why, state_us=now_us))
    if live is not None:
        endpoint = _with(endpoint, replace(live, state=state, weight=0, reason=why, state_us=now_us))
    return endpoint


def _with(endpoint: Endpoint, changed: Revision) -> Endpoint:
    revisions = tuple(changed if one.number == changed.number else one for one in endpoint.revisions)
    return replace(endpoint, revisions=revisions)


def _bounded(revisions: tuple[Revision, ...]) -> tuple[Revision, ...]:
    """The newest revisions, and of the older ones those that still matter."""
    newest = {revision.number for revision in revisions[-REVISIONS_MAX:]}
    retired = [revision for revision in revisions if revision.state == RETIRED][-1:]
    kept = [one for one in revisions if one.number in newest or one.state in (*ROLLING, LIVE) or one in retired]
    return tuple(kept)


def _check_slo(slo: SLO) -> None:
    _between("slo.p99_ms", slo.p99_ms, 0.001, 3_600_000.0)
    _between("slo.availability", slo.availability, 0.0, 0.999999)
    _between("slo.window_s", slo.window_s, 60, 30 * 86_400)


def _check_rollout(rollout: Rollout) -> None:
    steps = rollout.steps
    is_rising = all(low < high for low, high in pairwise(steps))
    if not steps or len(steps) > STEPS_MAX or not is_rising or steps[0] < 1 or steps[-1] != 100:
        raise InvalidValue(
            f"rollout.steps {shorten(str(list(steps)))} must rise from at least 1 to 100 percent, at most {STEPS_MAX} steps.",
            fix="Use such as [1, 10, 50, 100].",
            field="rollout.steps",
        )
    _between("rollout.shadow_requests", rollout.shadow_requests, 0, REQUESTS_MAX)
    _between("rollout.step_requests", rollout.step_requests, 1, REQUESTS_MAX)
    _between("rollout.disagreement_max", rollout.disagreement_max, 0.0, 1.0)
    _between("rollout.error_rate_max", rollout.error_rate_max, 0.0, 1.0)
    _between("rollout.latency_ratio_max", rollout.latency_ratio_max, 1.0, 1_000.0)
    _between("rollout.quality_drop_max", rollout.quality_drop_max, 0.0, 1.0)
    _between("rollout.step_seconds_max", rollout.step_seconds_max, 0.0, 30 * 86_400.0)
    _between("rollout.share_min", rollout.share_min, 1, 49)
    if rollout.split != "steps" and steps[0] == 100:
        raise InvalidValue(
            f"a split {rollout.split!r} needs a first step below 100 percent.",
            fix="Use steps such as [50, 100].",
            field="rollout.steps",
        )


def _between(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also true for NaN
        raise InvalidValue(f"{field} is {value:g}, {low:g} to {high:g} is allowed.", field=field)
