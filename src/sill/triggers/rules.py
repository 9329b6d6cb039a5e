"""Whether a trigger fires now, and why it does or does not: a pure decision on what it has seen."""

import msgspec

from sill.core.clock import iso
from sill.core.errors import InvalidValue
from sill.core.names import check_name
from sill.core.schedules import check_schedule, next_due_us
from sill.core.values import Value
from sill.triggers.types import TriggerKind, TriggerSpec, TriggerState

STARTABLE = ("training", "ingestion", "pipeline")
INCIDENT_KINDS = {
    TriggerKind.DRIFT: ("drift",),
    TriggerKind.QUALITY: ("quality",),
    TriggerKind.SLO: ("latency", "errors"),
}


class Decision(Value, frozen=True, kw_only=True):
    """Fire or wait, and why."""

    fires: bool
    reason: str


def check_trigger(spec: TriggerSpec) -> None:
    """Refuse a trigger that could never fire.

    Raises:
        InvalidValue: what it needs for its kind is missing or cannot be read.
    """
    check_name(spec.name)
    check_name(spec.start, "start")
    if spec.start_kind not in STARTABLE:
        raise InvalidValue(
            f"start_kind {spec.start_kind!r} cannot be started; {', '.join(STARTABLE)} can.", field="start_kind"
        )
    if spec.on is TriggerKind.SCHEDULE:
        check_schedule(spec.schedule)
    elif spec.on is not TriggerKind.HAND and not spec.source:
        raise InvalidValue(
            f"trigger {spec.name!r} waits on {spec.on.value} and names no source.",
            fix="Give the table or endpoint it waits on.",
            field="source",
        )
    if spec.source:
        check_name(spec.source, "source")
    for name in ("rows_min", "labels_min"):
        if getattr(spec, name) < 0:
            raise InvalidValue(f"{name} {getattr(spec, name)} is below zero.", field=name)
    if not 0 <= spec.cooldown_s <= 366 * 86_400:
        raise InvalidValue(f"cooldown_s {spec.cooldown_s} is not within 0 and a year.", field="cooldown_s")


def decide(state: TriggerState, now_us: int) -> Decision:
    """Fire if what the trigger waits for has happened, enough arrived, and the last start is long enough ago."""
    spec = state.spec
    if spec.paused:
        return Decision(fires=False, reason="paused")
    if spec.on is TriggerKind.HAND:
        return Decision(fires=False, reason="starts by hand only")
    if spec.on is TriggerKind.SCHEDULE:
        if now_us < state.next_due_us:
            return Decision(fires=False, reason=f"next due {iso(state.next_due_us)}")
        return Decision(fires=True, reason=f"schedule {spec.schedule} was due {iso(state.next_due_us)}")
    if not state.pending_since_us:
        return Decision(fires=False, reason=f"no {spec.on.value} on {spec.source} so far")
    ready_us = state.last_fired_us + round(spec.cooldown_s * 1e6)
    if state.last_fired_us and now_us < ready_us:
        return Decision(fires=False, reason=f"{spec.on.value} seen; cooling down until {iso(ready_us)}")
    needed, unit = (spec.rows_min, "rows") if spec.on is TriggerKind.TABLE else (spec.labels_min, "labels")
    if state.rows_seen < needed:
        return Decision(fires=False, reason=f"{spec.on.value} seen; {state.rows_seen} of {needed} {unit} have arrived")
    return Decision(
        fires=True, reason=f"{spec.on.value} on {spec.source} ({state.last_incident_id or f'{state.rows_seen} rows'})"
    )


def fired(state: TriggerState, run_id: str, reason: str, now_us: int) -> TriggerState:
    """The state after it fired: nothing pending, counters at zero, the next due time set."""
    return msgspec.structs.replace(
        state,
        last_fired_us=now_us,
        next_due_us=next_due_us(state.spec.schedule, now_us) if state.spec.on is TriggerKind.SCHEDULE else 0,
        pending_since_us=0,
        rows_seen=0,
        fired=state.fired + 1,
        last_run_id=run_id,
        fired_for=reason,
        reason=reason,
    )
