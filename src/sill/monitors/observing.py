"""Folds request rows into a monitor's state: fills windows, closes them, judges them. Pure.

The same rows from the same state always give the same windows and verdicts, in whatever batches the rows come.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from sill.core.values import Value
from sill.endpoints.types import SLO
from sill.monitors import sketches
from sill.monitors.rules import SLICES, Verdict, add_to_bucket, judge_drift, score_columns
from sill.monitors.types import IncidentKind, MonitorSpec, MonitorState, OpenWindow, Reference, Sketch, Window
from sill.traffic.types import RequestRow

ERROR_STATUS = 500
NUMBER_DIGITS = 8


class Found(Value, frozen=True, kw_only=True):
    """A closed window, what it says, and how many requests the live revision had answered by then."""

    window: Window
    drift: Verdict
    requests_seen: int


def fold(
    state: MonitorState, spec: MonitorSpec, slo: SLO, reference: Reference, rows: Sequence[RequestRow]
) -> tuple[MonitorState, tuple[Found, ...]]:
    """The state after more rows, and the windows that were closed by them.

    Rows of other revisions than the live one (a canary's, or the former one's last) count for the promises only.
    """
    state = _count_promises(state, slo, rows)
    live = [row for row in rows if row.revision == state.live_revision and not row.is_shadow]
    found: list[Found] = []
    while live:
        room = spec.window_requests - state.window.requests
        part, live = live[:room], live[room:]
        state = replace(
            state, window=_fill(state.window, reference, part), requests_seen=state.requests_seen + len(part)
        )
        if state.window.requests >= spec.window_requests:
            closed = _close(state, spec, reference)
            found.append(closed)
            state = replace(state, window=OpenWindow(), windows=closed.window.number)
    return state, tuple(found)


def step(state: MonitorState, verdict: Verdict, spec: MonitorSpec) -> tuple[MonitorState, str]:
    """The state after one verdict, and what to do: `open`, `close` or nothing.

    Drift opens after `windows_to_open` bad windows in a row and closes after `windows_to_close` good ones. The other
    kinds weigh many requests in each verdict already, so the first one counts.
    """
    if verdict.is_bad is None:
        return state, ""
    kind = verdict.kind.value
    bad = state.bad.get(kind, 0) + 1 if verdict.is_bad else 0
    good = 0 if verdict.is_bad else state.good.get(kind, 0) + 1
    state = replace(state, bad=state.bad | {kind: bad}, good=state.good | {kind: good})
    is_drift = verdict.kind is IncidentKind.DRIFT
    if bad >= (spec.windows_to_open if is_drift else 1):
        return state, "open"
    return state, "close" if good >= (spec.windows_to_close if is_drift else 1) else ""


def switch(state: MonitorState, revision: int, model_version: int) -> MonitorState:
    """The state when another revision is live: a new window, nothing seen of it yet; the numbering goes on."""
    return replace(
        state,
        live_revision=revision,
        model_version=model_version,
        requests_seen=0,
        window=OpenWindow(),
        bad={},
        good={},
        labels=((0, 0),),
        labels_now=(0, 0),
        problem="",
    )


def window_id(endpoint: str, number: int) -> str:
    """The key of a window; keys sort by number."""
    return f"{endpoint}/{number:0{NUMBER_DIGITS}d}"


def _count_promises(state: MonitorState, slo: SLO, rows: Sequence[RequestRow]) -> MonitorState:
    slice_us = max(slo.window_s * 1_000_000 // SLICES, 1)
    counted: dict[int, list[int]] = {}
    for row in rows:
        if not row.is_shadow:
            counts = counted.setdefault(row.at_us // slice_us, [0, 0, 0])
            counts[0] += 1
            counts[1] += row.status >= ERROR_STATUS
            counts[2] += row.latency_ms > slo.p99_ms
    buckets = state.buckets
    for place, (requests, errors, slow) in sorted(counted.items()):
        buckets = add_to_bucket(buckets, place, requests, errors, slow)
    return replace(state, buckets=buckets)


def _fill(window: OpenWindow, reference: Reference, rows: Sequence[RequestRow]) -> OpenWindow:
    answered = [row for row in rows if row.status < 400 and row.features]
    columns = dict(window.columns)
    if answered:
        given = [{**row.features, sketches.PREDICTION: row.prediction} for row in answered]
        for name, values in sketches.columns_of(given, reference.columns).items():
            columns[name] = sketches.update(columns.get(name, Sketch()), reference.columns[name], values)
    times = [row.at_us for row in rows]
    return OpenWindow(
        requests=window.requests + len(rows),
        errors=window.errors + sum(row.status >= ERROR_STATUS for row in rows),
        since_us=min([*times, *([window.since_us] if window.requests else [])]),
        until_us=max([*times, window.until_us]),
        latency=sketches.add_numbers(window.latency, [row.latency_ms for row in rows]),
        columns=columns,
    )


def _close(state: MonitorState, spec: MonitorSpec, reference: Reference) -> Found:
    window, number = state.window, state.windows + 1
    scores = score_columns(reference.columns, window.columns, spec.psi_min, spec.false_alarm)
    drift = judge_drift(scores, len(scores))
    closed = Window(
        project=state.project,
        id=window_id(state.endpoint, number),
        endpoint=state.endpoint,
        number=number,
        since_us=window.since_us,
        until_us=window.until_us,
        requests=window.requests,
        errors=window.errors,
        latency_ms_p99=sketches.quantile(window.latency, 0.99),
        scores=scores,
        shifted=tuple(score.column for score in scores if score.is_shifted),
    )
    if not scores:
        drift = replace(drift, is_bad=None)
    return Found(window=closed, drift=drift, requests_seen=state.requests_seen)
