"""Monitors, their state, windows, incidents and owed webhooks in the database."""

import msgspec
from sqlalchemy import Connection, delete, select

from sill.monitors.observing import window_id
from sill.monitors.types import Incident, IncidentKind, MonitorSpec, MonitorState, Reference, Window
from sill.stores.database import Documents, Tx

MONITORS: Documents[MonitorSpec] = Documents("monitors", MonitorSpec, columns=("endpoint",))
STATES: Documents[MonitorState] = Documents("monitor_states", MonitorState)
REFERENCES: Documents[Reference] = Documents("monitor_references", Reference)
WINDOWS: Documents[Window] = Documents("windows", Window, key="id", columns=("endpoint", "number"))
INCIDENTS: Documents[Incident] = Documents("incidents", Incident, key="id", columns=("endpoint", "kind", "open_flag"))

WINDOWS_KEPT = 1_000
"""Windows kept for an endpoint; older ones are forgotten."""


def newest_window(connection: Connection, project: str, endpoint: str) -> Window | None:
    """The window that was closed last."""
    t = WINDOWS.table
    query = select(t.c.doc).where(t.c.project == project, t.c.endpoint == endpoint)
    row = connection.execute(query.order_by(t.c.key.desc()).limit(1)).first()
    return None if row is None else msgspec.json.decode(row.doc, type=Window)


def forget_windows(tx: Tx, project: str, endpoint: str, newest: int) -> None:
    """Remove the windows that are too old to be kept."""
    if newest > WINDOWS_KEPT:
        t = WINDOWS.table
        bound = window_id(endpoint, newest - WINDOWS_KEPT)
        tx.execute(delete(t).where(t.c.project == project, t.c.endpoint == endpoint, t.c.key <= bound))


def forget_endpoint(tx: Tx, project: str, endpoint: str) -> None:
    """Remove all windows and incidents of an endpoint."""
    for table in (WINDOWS.table, INCIDENTS.table):
        tx.execute(delete(table).where(table.c.project == project, table.c.endpoint == endpoint))


def open_incident(connection: Connection, project: str, endpoint: str, kind: IncidentKind) -> Incident | None:
    """The open incident of a kind, if there is one; there is never more than one."""
    found = INCIDENTS.every(connection, project, endpoint=endpoint, kind=kind, open_flag=1)
    return found[0] if found else None
