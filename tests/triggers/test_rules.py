"""When a trigger fires, and the reason it gives when it does not."""

import msgspec
import pytest

from sill.core.errors import InvalidValue
from sill.triggers.rules import check_trigger, decide, fired
from sill.triggers.types import TriggerKind, TriggerSpec, TriggerState

MINUTE_US = 60_000_000


def state(
    on: TriggerKind = TriggerKind.DRIFT, *, pending_us: int = 0, rows: int = 0, last_us: int = 0, **spec: object
) -> TriggerState:
    made = TriggerSpec(project="p", name="t", on=on, start="fit", source="churn", **spec)  # type: ignore[arg-type]
    return TriggerState(
        project="p", name="t", spec=made, pending_since_us=pending_us, rows_seen=rows, last_fired_us=last_us
    )


def test_it_waits_while_nothing_happened() -> None:
    decision = decide(state(), 10 * MINUTE_US)

    assert (decision.fires, decision.reason) == (False, "no drift on churn so far")


def test_it_fires_when_it_happened() -> None:
    assert decide(state(pending_us=MINUTE_US), 2 * MINUTE_US).fires


def test_it_waits_for_enough_labels() -> None:
    decision = decide(state(pending_us=1, rows=149, labels_min=150), MINUTE_US)

    assert (decision.fires, decision.reason) == (False, "drift seen; 149 of 150 labels have arrived")


def test_it_cools_down_between_two_starts() -> None:
    waiting = state(pending_us=1, last_us=MINUTE_US, cooldown_s=120)

    assert not decide(waiting, 2 * MINUTE_US).fires
    assert decide(waiting, 3 * MINUTE_US).fires


def test_a_schedule_fires_once_when_due() -> None:
    scheduled = msgspec.structs.replace(state(TriggerKind.SCHEDULE, schedule="1h"), next_due_us=60 * MINUTE_US)
    after = fired(scheduled, "run-1", "due", 61 * MINUTE_US)

    assert decide(scheduled, 61 * MINUTE_US).fires
    assert not decide(after, 62 * MINUTE_US).fires


def test_firing_forgets_what_it_fired_for() -> None:
    after = fired(state(pending_us=5, rows=200), "run-1", "drift", MINUTE_US)

    assert (after.pending_since_us, after.rows_seen, after.fired, after.last_run_id) == (0, 0, 1, "run-1")


def test_a_paused_trigger_never_fires() -> None:
    assert decide(state(pending_us=1, paused=True), MINUTE_US).reason == "paused"


@pytest.mark.parametrize(
    "spec",
    [
        {"on": TriggerKind.SCHEDULE},
        {"on": TriggerKind.SCHEDULE, "schedule": "1s"},
        {"on": TriggerKind.DRIFT},
        {"on": TriggerKind.HAND, "start_kind": "shell"},
        {"on": TriggerKind.HAND, "cooldown_s": -1},
        {"on": TriggerKind.HAND, "start": "../x"},
    ],
)
def test_one_that_could_never_fire_is_refused(spec: dict[str, object]) -> None:
    fields = {"project": "p", "name": "t", "start": "fit", **spec}
    with pytest.raises(InvalidValue):
        check_trigger(TriggerSpec(**fields))  # type: ignore[arg-type]
