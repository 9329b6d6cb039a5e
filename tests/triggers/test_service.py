"""What happens starts runs: once each, whatever is repeated, killed or refused in between."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from sill.api.services import Services, build_services
from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.core.events import Event
from sill.core.settings import Settings
from sill.runs.types import Run
from sill.stores.database import Tx
from sill.triggers.service import TRIGGERS
from sill.triggers.types import TriggerKind, TriggerSpec, TriggerState

pytestmark = pytest.mark.anyio


def on(kind: TriggerKind, start: str = "fit", **fields: object) -> TriggerSpec:
    """A trigger of the project."""
    return TriggerSpec(project="p", name=f"on-{kind.value}", on=kind, start=start, **fields)  # type: ignore[arg-type]


async def happens(services: Services, kind: str, subject: str, /, **data: object) -> list[Event]:
    """The event is in the log, and the triggers have taken it in."""
    await services.database.write(lambda tx: tx.emit(kind, "p", subject, "sill", **data))
    events = await services.governance.events(PLATFORM, project="p", kinds=(kind,), limit=1_000)
    await services.triggers.observe(events[-1])
    return events


async def started(services: Services) -> list[Run]:
    return list((await services.runs.runs(PLATFORM, "p")).items)


async def one(services: Services, kind: TriggerKind) -> TriggerState:
    return await services.triggers.trigger(PLATFORM, "p", f"on-{kind.value}")


@pytest.mark.parametrize(
    ("start", "start_kind", "run_kind"),
    [("fit", "training", "train"), ("load", "ingestion", "ingest"), ("nightly", "pipeline", "pipeline")],
)
async def test_new_rows_start_what_the_trigger_names(
    services: Services, start: str, start_kind: str, run_kind: str
) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.TABLE, start, start_kind=start_kind, source="things"))

    await services.lake.append(PLATFORM, "p", "things", pa.table({"id": [1, 2]}))
    (event,) = await services.governance.events(PLATFORM, project="p", kinds=("table.appended",))
    await services.triggers.observe(event)

    (run,) = await started(services)
    state = await one(services, TriggerKind.TABLE)
    assert (run.kind, state.fired, state.last_run_id, state.fired_for) == (
        run_kind,
        1,
        run.id,
        "table on things (2 rows)",
    )


async def test_the_same_event_again_starts_nothing(services: Services, clock: ManualClock) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.TABLE, source="things"))
    (event,) = await happens(services, "table.appended", "things", rows=5)

    clock.advance(3_600)
    await services.triggers.observe(event)
    await services.triggers.fire_due()

    assert len(await started(services)) == 1


async def test_a_crash_between_start_and_note_starts_nothing_twice(services: Services) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.TABLE, source="things"))
    before = await one(services, TriggerKind.TABLE)
    await happens(services, "table.appended", "things", rows=5)

    def forget(tx: Tx) -> None:
        current = TRIGGERS.get(tx.connection, "p", before.name)
        pending = {"pending_since_us": 1, "rows_seen": 5, "fired": 0, "last_fired_us": 0}
        TRIGGERS.replace(tx, msgspec.structs.replace(current, **pending))

    await services.database.write(forget)
    await services.triggers.fire_due()

    assert len(await started(services)) == 1
    assert (await one(services, TriggerKind.TABLE)).fired == 1


async def test_what_arrives_while_it_cools_down_starts_one_run_after(services: Services, clock: ManualClock) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.TABLE, source="things", cooldown_s=600))
    for _ in range(3):
        await happens(services, "table.appended", "things", rows=5)
    assert len(await started(services)) == 1
    assert "cooling down" in (await one(services, TriggerKind.TABLE)).reason

    clock.advance(601)
    await services.triggers.fire_due()

    assert len(await started(services)) == 2


async def test_drift_waits_for_labels_and_then_starts_the_training(services: Services) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.DRIFT, source="churn", labels_min=50))

    await happens(services, "incident.opened", "inc-1", endpoint="churn", kind="drift")
    assert await started(services) == []
    await happens(services, "labels.added", "churn", endpoint="churn", joined=60)

    (run,) = await started(services)
    assert run.spec.tags["reason"] == "drift on churn (inc-1)"
    assert (await one(services, TriggerKind.DRIFT)).last_incident_id == "inc-1"


async def test_an_incident_that_closes_in_time_starts_nothing(services: Services) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.DRIFT, source="churn", labels_min=50))
    await happens(services, "incident.opened", "inc-1", endpoint="churn", kind="drift")
    await happens(services, "incident.closed", "inc-1", endpoint="churn", kind="drift")

    await happens(services, "labels.added", "churn", endpoint="churn", joined=60)

    assert await started(services) == []


@pytest.mark.parametrize(
    ("kind", "subject", "data"),
    [
        ("incident.opened", "inc-1", {"endpoint": "other", "kind": "drift"}),
        ("incident.opened", "inc-1", {"endpoint": "churn", "kind": "latency"}),
        ("table.appended", "churn", {"rows": 5}),
    ],
)
async def test_what_is_not_waited_for_starts_nothing(
    services: Services, kind: str, subject: str, data: dict[str, object]
) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.DRIFT, source="churn"))

    await happens(services, kind, subject, **data)

    assert await started(services) == []


async def test_a_restart_keeps_what_was_pending(services: Services, clock: ManualClock, tmp_path: Path) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.TABLE, source="things", rows_min=10))
    await happens(services, "table.appended", "things", rows=6)
    services.close()

    again = await build_services(Settings(home=tmp_path / "home"), clock)
    try:
        assert "6 of 10 rows" in (await one(again, TriggerKind.TABLE)).reason
        await happens(again, "table.appended", "things", rows=4)
        assert len(await started(again)) == 1
    finally:
        again.close()


async def test_a_schedule_that_was_missed_fires_once(services: Services, clock: ManualClock) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.SCHEDULE, schedule="1h"))
    clock.advance(10 * 3_600)

    for _ in range(3):
        await services.triggers.fire_due()

    assert len(await started(services)) == 1


async def test_one_that_cannot_start_says_why_and_holds_up_no_other(services: Services) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.TABLE, "gone", source="things"))
    second = on(TriggerKind.TABLE, source="things")
    await services.triggers.declare(
        PLATFORM, TriggerSpec(project="p", name="z", on=second.on, start="fit", source="things")
    )

    await happens(services, "table.appended", "things", rows=5)

    assert "it could not start: no training 'gone'" in (await one(services, TriggerKind.TABLE)).reason
    assert len(await started(services)) == 1


async def test_by_hand_it_starts_whatever_it_waits_for_and_a_key_starts_once(services: Services) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.DRIFT, source="churn"))

    first = await services.triggers.fire(PLATFORM, "p", "on-drift", "by hand", key="k")
    again = await services.triggers.fire(PLATFORM, "p", "on-drift", "by hand", key="k")

    assert first.id == again.id
    assert len(await started(services)) == 1


async def test_what_nobody_can_start_is_refused(services: Services) -> None:
    with pytest.raises(InvalidValue, match="cannot be started"):
        await services.triggers.start(PLATFORM, "p", "rm", "fit")
    with pytest.raises(NotFound):
        await services.triggers.start(PLATFORM, "p", "training", "nothing")


async def test_another_tenant_sees_and_starts_nothing(services: Services) -> None:
    await services.triggers.declare(PLATFORM, on(TriggerKind.HAND))
    stranger = Actor(id="s", scopes=frozenset({"*"}), projects=frozenset({"q"}))
    reader = Actor(id="r", scopes=frozenset({"triggers:read"}), projects=frozenset({"p"}))

    with pytest.raises(NotFound):
        await services.triggers.fire(stranger, "p", "on-hand")
    with pytest.raises(Forbidden):
        await services.triggers.fire(reader, "p", "on-hand")
