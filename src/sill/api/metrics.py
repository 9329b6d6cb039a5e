"""Gauges of the control plane in the Prometheus format, counted from the database when somebody asks."""

from sqlalchemy import Connection, func, select

from sill.api.adding_up import CONTENT_TYPE
from sill.models.store import VERSIONS
from sill.monitors.store import INCIDENTS
from sill.runs.store import RUNS
from sill.runs.types import RunState
from sill.stores.database import Database
from sill.stores.database.schema import events


class Metrics:
    """Writes the exposition. Nothing is kept between scrapes, so that nothing can be wrong after a restart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exposition(self) -> tuple[bytes, str]:
        """The text and its content type."""
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()
        counted = self._database.read_sync(_count)
        runs = Gauge("sill_runs", "Runs by state.", ["state"], registry=registry)
        for state in RunState:
            runs.labels(state=state.value).set(counted[state.value])
        for name, text in (
            ("events", "Events in the log."),
            ("model_versions", "Registered model versions."),
            ("incidents_open", "Open incidents."),
        ):
            Gauge(f"sill_{name}", text, registry=registry).set(counted[name])
        return generate_latest(registry), CONTENT_TYPE


def _count(connection: Connection) -> dict[str, int]:
    states = {state.value: RUNS.count(connection, state=state) for state in RunState}
    return {
        **states,
        "events": connection.execute(select(func.coalesce(func.max(events.c.seq), 0))).scalar_one(),
        "model_versions": VERSIONS.count(connection),
        "incidents_open": INCIDENTS.count(connection, open_flag=1),
    }
