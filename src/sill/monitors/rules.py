"""What a window says: which columns shifted, whether promises are kept, whether answers are right. Pure."""

from collections.abc import Mapping, Sequence

from sill.core.errors import InvalidValue
from sill.core.names import check_name
from sill.core.values import Value
from sill.endpoints.types import SLO
from sill.monitors import sketches
from sill.monitors.statistics import (
    binomial_at_least,
    binomial_at_most,
    holm,
    jensen_shannon,
    psi,
    shares,
    two_samples_tail,
)
from sill.monitors.types import Bucket, FeatureScore, IncidentKind, MonitorSpec, Profile, Sketch

POOL_BELOW = 5.0
"""Bins in which the reference lets one expect fewer rows of a window than this are judged together."""
SLICES = 12
"""The SLO's window is counted in so many slices; the newest two are the short window."""
SLO_REQUESTS_MIN = 20
SLOW_SHARE_MAX = 0.01
"""A latency promise is about the 99th percentile: one request in a hundred may be slower."""
QUALITY_BLOCKS = 5
"""Quality is judged over the newest labels: so many times `labels_min` of them, at most one more."""
WINDOW_REQUESTS_MAX = 1_000_000


class Verdict(Value, frozen=True, kw_only=True):
    """Good, bad, or nothing to say (None), with the facts."""

    kind: IncidentKind
    is_bad: bool | None
    summary: str
    evidence: dict[str, object] = {}


def check_spec(spec: MonitorSpec) -> None:
    """Refuses a monitor that cannot be meant.

    Raises:
        InvalidValue: a name or number is outside what is allowed, or a webhook has no secret to sign with.
    """
    for field in ("project", "name", "endpoint"):
        check_name(getattr(spec, field), field)
    _between("window_requests", spec.window_requests, 20, WINDOW_REQUESTS_MAX)
    _between("psi_min", spec.psi_min, 0.0, 100.0)
    _between("false_alarm", spec.false_alarm, 1e-12, 0.5)
    _between("windows_to_open", spec.windows_to_open, 1, 100)
    _between("windows_to_close", spec.windows_to_close, 1, 100)
    _between("accuracy_drop_max", spec.accuracy_drop_max, 0.0, 1.0)
    _between("labels_min", spec.labels_min, 1, 10_000_000)
    if spec.webhook and not spec.webhook_secret:
        raise InvalidValue(
            "a webhook needs webhook_secret, the name of a secret of the project that signs what is sent.",
            fix="Store a secret of at least 16 bytes and name it.",
            field="webhook_secret",
        )
    if spec.webhook_secret:
        check_name(spec.webhook_secret, "webhook_secret")


def score_columns(
    profiles: Mapping[str, Profile], window: Mapping[str, Sketch], psi_min: float, false_alarm: float
) -> tuple[FeatureScore, ...]:
    """How far each column of a window lies from the reference, and whether it counts as shifted.

    A column is shifted when its index is both large and significant. Large: at least `psi_min` above what two samples
    of these sizes differ by anyway. Significant: over all columns together, columns of which none shifted are called so
    with at most the chance `false_alarm`.

    Source: Yurdakul, Statistical Properties of Population Stability Index, 2018; Holm, 1979.
    """
    names = [name for name in profiles if name in window]
    measured = [_measure(profiles[name], window[name]) for name in names]
    significant = holm([p_value for _, _, p_value, _ in measured], false_alarm) if names else []
    scores = []
    for name, (index, js, p_value, bias), is_significant in zip(names, measured, significant, strict=True):
        profile, sketch = profiles[name], window[name]
        scores.append(
            FeatureScore(
                column=name,
                psi=index,
                ks=_kolmogorov_smirnov(profile, sketch),
                js=js,
                p_value=p_value,
                is_shifted=is_significant and index >= psi_min + bias,
                window_mean=sketches.mean(sketch),
                reference_mean=profile.mean,
            )
        )
    return tuple(scores)


def judge_drift(scores: Sequence[FeatureScore], columns: int) -> Verdict:
    """The verdict on one window's scores."""
    shifted = sorted((score for score in scores if score.is_shifted), key=lambda score: -score.psi)
    named = ", ".join(f"{score.column} (PSI {score.psi:.2f})" for score in shifted[:5])
    more = f" and {len(shifted) - 5} more" if len(shifted) > 5 else ""
    evidence: dict[str, object] = {
        "shifted": [score.column for score in shifted],
        "scores": {score.column: _facts(score) for score in shifted},
    }
    summary = f"{len(shifted)} of {columns} columns shifted: {named}{more}" if shifted else "no column shifted"
    return Verdict(kind=IncidentKind.DRIFT, is_bad=bool(shifted), summary=summary, evidence=evidence)


def judge_slo(buckets: Sequence[Bucket], slo: SLO, false_alarm: float) -> tuple[Verdict, Verdict]:
    """Whether latency and error promises are being broken: over the long and the short window alike.

    The long window keeps one burst from raising an alarm, the short one ends the alarm soon after the trouble does.
    Source: Beyer et al., The Site Reliability Workbook, 2018, chapter 5 (multiwindow burn rate), with a binomial test
    in place of a fixed factor so that few requests do not raise alarms by chance.
    """
    newest = max((bucket.at for bucket in buckets), default=0)
    long = [bucket for bucket in buckets if bucket.at > newest - SLICES]
    short = [bucket for bucket in buckets if bucket.at > newest - 2]
    requests = (sum(one.requests for one in long), sum(one.requests for one in short))
    slow = (sum(one.slow for one in long), sum(one.slow for one in short))
    errors = (sum(one.errors for one in long), sum(one.errors for one in short))
    return (
        _burn(IncidentKind.LATENCY, requests, slow, SLOW_SHARE_MAX, f"slower than {slo.p99_ms:g} ms", slo, false_alarm),
        _burn(IncidentKind.ERRORS, requests, errors, 1 - slo.availability, "failed", slo, false_alarm),
    )


def judge_quality(
    labels: Sequence[tuple[int, int]], now: tuple[int, int], promised: float | None, spec: MonitorSpec
) -> Verdict:
    """Whether answers are as right as the model's evaluation promised, within what is allowed.

    Args:
        labels: (labelled, correct) at earlier times, oldest first; judged is what came since the first.
        now: the same now.
        promised: accuracy of the evaluation; None gives no verdict.
    """
    labelled, correct = now[0] - labels[0][0], now[1] - labels[0][1]
    accuracy = correct / labelled if labelled else 0.0
    nothing = Verdict(kind=IncidentKind.QUALITY, is_bad=None, summary=f"{labelled} of {spec.labels_min} labels")
    if promised is None or labelled < spec.labels_min:
        return nothing
    bound = max(promised - spec.accuracy_drop_max, 0.0)
    chance = binomial_at_most(correct, labelled, bound) if accuracy < bound else 1.0
    if accuracy < bound and chance > spec.false_alarm:
        return nothing
    return Verdict(
        kind=IncidentKind.QUALITY,
        is_bad=accuracy < bound,
        summary=f"accuracy {accuracy:.3f} on {labelled} labels, the evaluation promised {promised:.3f}",
        evidence={
            "accuracy": accuracy,
            "labelled": labelled,
            "correct": correct,
            "promised": promised,
            "required": bound,
            "p_value": chance,
        },
    )


def advance_labels(
    labels: tuple[tuple[int, int], ...], now: tuple[int, int], labels_min: int
) -> tuple[tuple[int, int], ...]:
    """The earlier times to remember: one more each time `labels_min` labels came, the oldest forgotten."""
    if now[0] - labels[-1][0] < labels_min:
        return labels
    return (*labels, now)[-(QUALITY_BLOCKS + 1) :]


def add_to_bucket(buckets: tuple[Bucket, ...], at: int, requests: int, errors: int, slow: int) -> tuple[Bucket, ...]:
    """The slices with more requests in one of them; slices beyond the long window are forgotten."""
    by_place = {bucket.at: bucket for bucket in buckets}
    was = by_place.get(at, Bucket(at=at))
    by_place[at] = Bucket(at=at, requests=was.requests + requests, errors=was.errors + errors, slow=was.slow + slow)
    newest = max(by_place)
    return tuple(by_place[place] for place in sorted(by_place) if place > newest - SLICES)


def _measure(profile: Profile, sketch: Sketch) -> tuple[float, float, float, float]:
    """(psi, Jensen-Shannon, p-value, the psi that chance alone gives on average)."""
    reference, window = _pool(profile.counts, sketches.bin_counts(profile, sketch))
    m, n = sum(reference), sum(window)
    if len(reference) < 2 or not m or not n:
        return 0.0, 0.0, 1.0, 0.0
    p, q = shares(reference), shares(window)
    index, degrees = psi(p, q), len(p) - 1
    return index, jensen_shannon(p, q), two_samples_tail(reference, window), degrees * (1 / n + 1 / m)


def _pool(reference: Sequence[int], window: Sequence[int]) -> tuple[list[int], list[int]]:
    """Both counts with their rare bins as one; bins that are empty on both sides say nothing and are left out."""
    m, n = sum(reference), sum(window)
    kept = [(r, w) for r, w in zip(reference, window, strict=True) if m and n * r / m >= POOL_BELOW]
    rare = (sum(reference) - sum(r for r, _ in kept), sum(window) - sum(w for _, w in kept))
    if any(rare):
        kept.append(rare)
    return [r for r, _ in kept], [w for _, w in kept]


def _kolmogorov_smirnov(profile: Profile, sketch: Sketch) -> float | None:
    """Largest distance between the two distributions, seen at the profile's grid."""
    ranks = sketches.ranks_at(sketch, profile.grid) if profile.is_number else []
    return max((abs(a - b) for a, b in zip(ranks, profile.grid_ranks, strict=True)), default=None) if ranks else None


def _burn(
    kind: IncidentKind,
    requests: tuple[int, int],
    bad: tuple[int, int],
    allowed: float,
    what: str,
    slo: SLO,
    false_alarm: float,
) -> Verdict:
    is_burning = [
        of >= SLO_REQUESTS_MIN and count > of * allowed and binomial_at_least(count, of, allowed) < false_alarm
        for of, count in zip(requests, bad, strict=True)
    ]
    is_calm = requests[1] >= SLO_REQUESTS_MIN and bad[1] <= requests[1] * allowed
    share = bad[0] / requests[0] if requests[0] else 0.0
    return Verdict(
        kind=kind,
        is_bad=True if all(is_burning) else (False if is_calm else None),
        summary=f"{bad[0]} of {requests[0]} requests {what} ({share:.2%}, allowed {allowed:.2%}) in {slo.window_s} s",
        evidence={
            "requests": requests[0],
            "bad": bad[0],
            "requests_short": requests[1],
            "bad_short": bad[1],
            "allowed": allowed,
            "burn_rate": share / allowed,
            "window_s": slo.window_s,
        },
    )


def _facts(score: FeatureScore) -> dict[str, object]:
    return {
        "psi": score.psi,
        "ks": score.ks,
        "js": score.js,
        "p_value": score.p_value,
        "window_mean": score.window_mean,
        "reference_mean": score.reference_mean,
    }


def _between(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # also true for NaN
        raise InvalidValue(f"{field} is {value:g}, {low:g} to {high:g} is allowed.", field=field)
