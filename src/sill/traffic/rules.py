"""The rollout's judge: what the answers so far say about the revision on its way in. Pure; it returns its reasons.

pending → shadow → canary, step by step → live; or rejected, as soon as its limits can no longer be kept.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import erf, erfc, exp, lgamma, log, log1p, sqrt

from sill.endpoints.types import Endpoint, Revision, RevisionState, Rollout
from sill.traffic.types import Decision, RevisionStats

LATENCY_BOUNDS_MS = (
    *(0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0, 100.0),
    *(150.0, 200.0, 300.0, 500.0, 700.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0),
)
"""Upper bounds of the latency counts; one more count holds what is above the last."""
LABELS_MIN = 30
"""Fewest labels, of both revisions, for a verdict on quality."""
REQUESTS_MIN = 10
"""Fewest requests a step that ran out of time is decided on."""
SURE = 0.99
"""A bandit ends when one revision is the better one with this chance."""
SHARE_STEP = 5
"""Percent of the traffic below which a bandit's share is left as it is."""
LABELS_EXACT_MAX = 2_000
"""Labels up to which the chance is summed exactly."""
SLOW_SHARE = 0.01
"""The share of requests above a 99th percentile, by its meaning."""
CHANCE_MAX = 0.005
"""A latency is called too high when chance alone would show as many slow requests less often than this."""
HITS_EXACT_MAX = 2_000
"""Hits up to which a chance is summed exactly."""
WORSE = 2.0
"""How many times the former revision's errors a live one may have, if that is more than is promised."""
SHARE_LEAST = 1e-6
"""A promise of no error at all is judged as this share."""
SHADOW, LIVE, LATE, LATE_SHADOW = "shadow", "live", "late", "late-shadow"


def phase_of(revision: Revision, is_shadow: bool, at_us: int) -> str:
    """The rollout step an answer counts for: `shadow`, `canary-PERCENT`, `live`; `late` or `late-shadow` if it is over.

    Args:
        at_us: when the answer was given.
    """
    if is_shadow:
        return SHADOW if revision.state is RevisionState.SHADOW else LATE_SHADOW
    if revision.state is RevisionState.LIVE:
        return LIVE
    if revision.state is RevisionState.CANARY and at_us >= revision.state_us:
        return f"canary-{revision.weight}"
    return LATE


def stats_id(endpoint: str, number: int, phase: str) -> str:
    """`ENDPOINT/REVISION/PHASE`."""
    return f"{endpoint}/{number}/{phase}"


def latency_counts(latencies_ms: Iterable[tuple[float, int]]) -> tuple[int, ...]:
    """How many latencies lie in each of the ranges `LATENCY_BOUNDS_MS` marks off, each given with how often it occurred."""
    counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for latency_ms, times in latencies_ms:
        counts[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += times
    return tuple(counts)


def latency_ms_p99(counts: tuple[int, ...]) -> float:
    """The upper bound of the range the 99th percentile lies in; 0 without a request."""
    total = sum(counts)
    seen = 0
    for bound, count in zip((*LATENCY_BOUNDS_MS, 2 * LATENCY_BOUNDS_MS[-1]), counts, strict=False):
        seen += count
        if total and seen >= (1 - SLOW_SHARE) * total:
            return bound
    return 0.0


def judge(endpoint: Endpoint, stats: tuple[RevisionStats, ...], now_us: int) -> Decision | None:
    """The next step of the revision that is on its way in, or why it waits; None if none is.

    Args:
        stats: of the endpoint's revisions, all phases.
        now_us: microseconds since 1970 UTC.
    """
    rolling = endpoint.rolling()
    if rolling is None:
        return None
    if endpoint.spec.paused:
        return _wait(rolling, "the endpoint is paused.")
    if endpoint.live() is None:
        return _move(rolling, RevisionState.LIVE, 100, "no revision is live: the first one goes live at once.")
    rollout = endpoint.spec.rollout
    if rolling.state is RevisionState.PENDING:
        return _begin(rolling, rollout)
    seen = _stats_of(stats, rolling.number, phase_of(rolling, rolling.state is RevisionState.SHADOW, now_us))
    if bad := _objection(endpoint, rolling, seen, stats):
        return _move(rolling, RevisionState.REJECTED, 0, bad)
    if rolling.state is RevisionState.CANARY and rollout.split == "fixed":
        return _wait(rolling, f"it keeps {rolling.weight} % of the traffic until the test is ended by hand.")
    if _is_bandit(rolling, rollout):
        return _bandit(endpoint, rolling, stats)
    return _step(rolling, rollout, seen, now_us)


def why_return(endpoint: Endpoint, stats: tuple[RevisionStats, ...], now_us: int) -> str:
    """Why the live revision should be left for the former one: it breaks its promises, and is new; empty if it is fine.

    Only within the window of its promises, only if the former one did better, and never a second time: a revision that
    was returned to stays, whatever is wrong then is not its own.
    """
    live, former = endpoint.live(), endpoint.former()
    if live is None or former is None or endpoint.rolling() is not None or endpoint.spec.paused:
        return ""
    slo = endpoint.spec.slo
    was_returned_to = any(one.number > live.number and one.weight_max == 100 for one in endpoint.revisions)
    seen, beside = _stats_of(stats, live.number, LIVE), _stats_of(stats, former.number, LIVE)
    if was_returned_to or seen is None or now_us - live.state_us > slo.window_s * 1e6:
        return ""
    share_beside = beside.errors / beside.requests if beside and beside.requests else 0.0
    share = min(max(1 - slo.availability, WORSE * share_beside, SHARE_LEAST), 0.99)
    if seen.requests >= REQUESTS_MIN and chance_of(seen.errors, seen.requests, share) < CHANCE_MAX:
        return f"since it is live, {seen.errors} of {seen.requests} answers were errors; {1 - slo.availability:.2%} may be."
    return _too_slow(seen, beside, endpoint)


def _begin(rolling: Revision, rollout: Rollout) -> Decision:
    if rollout.shadow_requests > 0:
        wanted = f"it answers {rollout.shadow_requests} requests unseen first."
        return _move(rolling, RevisionState.SHADOW, 0, wanted)
    return _onward(rolling, rollout, "no shadow is asked for")


def _step(rolling: Revision, rollout: Rollout, seen: RevisionStats | None, now_us: int) -> Decision:
    """On to the next step when it has answered enough, or when the time is up and it has answered some."""
    is_shadow = rolling.state is RevisionState.SHADOW
    wanted = rollout.shadow_requests if is_shadow else rollout.step_requests
    answered = 0 if seen is None else seen.requests
    where = "in shadow" if is_shadow else f"at {rolling.weight} % of the traffic"
    if answered >= wanted:
        return _onward(rolling, rollout, f"{answered} requests answered well {where}")
    waited_s = (now_us - rolling.state_us) / 1e6
    if waited_s < rollout.step_seconds_max:
        return _wait(rolling, f"{answered} of {wanted} requests answered {where}.")
    if answered >= REQUESTS_MIN:
        return _onward(rolling, rollout, f"after {waited_s:.0f} s only {answered} requests, all good enough, {where}")
    return _wait(
        rolling,
        f"{answered} requests in {waited_s:.0f} s {where}; {REQUESTS_MIN} are needed to decide. Send traffic, or roll back.",
    )


def _bandit(endpoint: Endpoint, rolling: Revision, stats: tuple[RevisionStats, ...]) -> Decision:
    """Share the traffic by how likely each revision is the better one; end it when that is sure.

    Source: Thompson sampling (Thompson, 1933) with the reward "the label says it was right", its expected share instead
    of one draw for each request, so that a request's id alone decides where it goes.
    """
    live = endpoint.live()
    own, others = _labelled(stats, rolling.number), (0, 0) if live is None else _labelled(stats, live.number)
    if min(own[0], others[0]) < LABELS_MIN:
        return _wait(rolling, f"{own[0]} and {others[0]} labels; {LABELS_MIN} of each are needed to share by them.")
    chance = chance_better(own, others)
    known = f"by {own[0]} and {others[0]} labels it is the better one with a chance of {chance:.1%}"
    if chance >= SURE:
        return _move(rolling, RevisionState.LIVE, 100, f"{known}: it goes live.")
    if chance <= 1 - SURE:
        return _move(rolling, RevisionState.REJECTED, 0, f"{known}: it leaves.")
    least = endpoint.spec.rollout.share_min
    weight = min(max(round(100 * chance), least), 100 - least)
    if abs(weight - rolling.weight) < SHARE_STEP:
        return _wait(rolling, f"{known}: it keeps {rolling.weight} % of the traffic.")
    return _move(rolling, RevisionState.CANARY, weight, f"{known}: it gets {weight} % of the traffic.")


def chance_better(one: tuple[int, int], other: tuple[int, int]) -> float:
    """How likely the first is right more often than the second, each given as (labels, right), from even beliefs.

    Source: P(X > Y) of two beta distributions with whole parameters, in closed form (Evan Miller, "Formulas for Bayesian
    A/B testing", 2015). Above `LABELS_EXACT_MAX` labels by the normal distribution both come close to.
    """
    a, b = one[1] + 1, one[0] - one[1] + 1
    c, d = other[1] + 1, other[0] - other[1] + 1
    if max(one[0], other[0]) > LABELS_EXACT_MAX:
        means = a / (a + b), c / (c + d)
        spread = sum(mean * (1 - mean) / (size + 3) for mean, size in zip(means, (one[0], other[0]), strict=True))
        return 0.5 * (1 + erf((means[0] - means[1]) / sqrt(2 * spread)))
    terms = (exp(_log_beta(c + i, b + d) - log(b + i) - _log_beta(1 + i, b) - _log_beta(c, d)) for i in range(a))
    return min(sum(terms), 1.0)


def _log_beta(x: int, y: int) -> float:
    return lgamma(x) + lgamma(y) - lgamma(x + y)


def _onward(rolling: Revision, rollout: Rollout, why: str) -> Decision:
    following = [step for step in rollout.steps if step > rolling.weight]
    if not following or following[0] >= 100:
        return _move(rolling, RevisionState.LIVE, 100, f"{why}: it goes live.")
    return _move(rolling, RevisionState.CANARY, following[0], f"{why}: it gets {following[0]} % of the traffic.")


def _objection(
    endpoint: Endpoint, rolling: Revision, seen: RevisionStats | None, stats: tuple[RevisionStats, ...]
) -> str:
    """Why the revision must not go on; empty if nothing speaks against it.

    A limit counts as broken as soon as the requests still to come could not mend it, so that a bad revision is
    stopped on its first requests.
    """
    if seen is None:
        return ""
    rollout = endpoint.spec.rollout
    live = endpoint.live()
    beside = None if live is None else _stats_of(stats, live.number, LIVE)
    wanted = rollout.shadow_requests if rolling.state is RevisionState.SHADOW else rollout.step_requests
    return (
        _too_many_errors(seen, beside, rollout, wanted)
        or ("" if _is_bandit(rolling, rollout) else _worse_by_labels(stats, rolling, live, rollout))
        or _too_different(seen, stats, rolling, live, rollout, wanted)
        or _too_slow(seen, beside, endpoint)
    )


def _is_bandit(rolling: Revision, rollout: Rollout) -> bool:
    return rolling.state is RevisionState.CANARY and rollout.split == "bandit"


def _too_many_errors(seen: RevisionStats, beside: RevisionStats | None, rollout: Rollout, wanted: int) -> str:
    total = max(seen.requests, wanted)
    share_beside = beside.errors / beside.requests if beside and beside.requests else 0.0
    if seen.errors > rollout.error_rate_max * total and seen.errors > share_beside * total:
        return f"{seen.errors} of {seen.requests} answers were errors; at most {rollout.error_rate_max:.1%} may be."
    return ""


def _worse_by_labels(
    stats: tuple[RevisionStats, ...], rolling: Revision, live: Revision | None, rollout: Rollout
) -> str:
    accuracies = _accuracies(stats, rolling, live)
    if accuracies is None or accuracies[1] - accuracies[0] <= rollout.quality_drop_max:
        return ""
    return (
        f"by the labels it is right in {accuracies[0]:.1%}, the live revision in {accuracies[1]:.1%}; "
        f"at most {rollout.quality_drop_max:.1%} less is allowed."
    )


def _too_different(
    seen: RevisionStats,
    stats: tuple[RevisionStats, ...],
    rolling: Revision,
    live: Revision | None,
    rollout: Rollout,
    wanted: int,
) -> str:
    """Disagreement is a stand-in for quality: where labels are enough to know, it says nothing."""
    if _accuracies(stats, rolling, live) is not None:
        return ""
    if seen.disagreed > rollout.disagreement_max * max(seen.compared, wanted):
        return (
            f"{seen.disagreed} of {seen.compared} answers differ from the live revision's; "
            f"at most {rollout.disagreement_max:.0%} may, and too few labels say which is right."
        )
    return ""


def _too_slow(seen: RevisionStats, beside: RevisionStats | None, endpoint: Endpoint) -> str:
    """The 99th percentile against the SLO, or a multiple of the live revision's if that is more.

    A few slow requests among few prove nothing: the exact binomial tail says how likely they are by chance.
    """
    live_p99 = latency_ms_p99(beside.latency_counts) if beside else 0.0
    bound = max(endpoint.spec.slo.p99_ms, endpoint.spec.rollout.latency_ratio_max * live_p99)
    lowers = (0.0, *LATENCY_BOUNDS_MS)
    slow = sum(count for lower, count in zip(lowers, seen.latency_counts, strict=False) if lower >= bound)
    if slow > SLOW_SHARE * seen.requests and chance_of(slow, seen.requests) < CHANCE_MAX:
        return f"{slow} of {seen.requests} answers took longer than {bound:g} ms; 1 % may."
    return ""


def chance_of(hits: int, requests: int, share: float = SLOW_SHARE) -> float:
    """How likely `hits` or more of `requests` are, when each is one with the chance `share`.

    Source: binomial distribution, summed exactly; above `HITS_EXACT_MAX` by the normal one it comes close to.
    """
    if hits <= 0:
        return 1.0
    if hits > HITS_EXACT_MAX:
        mean = requests * share
        return 0.5 * erfc((hits - 0.5 - mean) / sqrt(2 * mean * (1 - share)))
    below = 0.0
    for k in range(min(hits, requests + 1)):
        ways = lgamma(requests + 1) - lgamma(k + 1) - lgamma(requests - k + 1)
        below += exp(ways + k * log(share) + (requests - k) * log1p(-share))
    return max(1.0 - below, 0.0)


def _accuracies(
    stats: tuple[RevisionStats, ...], rolling: Revision, live: Revision | None
) -> tuple[float, float] | None:
    """Accuracy of the revision on its way in and of the live one, if both have labels enough."""
    coming = _labelled(stats, rolling.number)
    beside = (0, 0) if live is None else _labelled(stats, live.number)
    if min(coming[0], beside[0]) < LABELS_MIN:
        return None
    return coming[1] / coming[0], beside[1] / beside[0]


def _labelled(stats: tuple[RevisionStats, ...], number: int) -> tuple[int, int]:
    own = [one for one in stats if one.number == number]
    return sum(one.labelled for one in own), sum(one.correct for one in own)


def _stats_of(stats: tuple[RevisionStats, ...], number: int, phase: str) -> RevisionStats | None:
    return next((one for one in stats if one.number == number and one.id.endswith(f"/{phase}")), None)


def _move(rolling: Revision, state: RevisionState, weight: int, reason: str) -> Decision:
    return Decision(number=rolling.number, is_move=True, state=state, weight=weight, reason=reason)


def _wait(rolling: Revision, reason: str) -> Decision:
    return Decision(number=rolling.number, is_move=False, state=rolling.state, weight=rolling.weight, reason=reason)
