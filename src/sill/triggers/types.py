"""Triggers: what starts a run without anybody asking."""

from enum import StrEnum

from sill.core.values import Value


class TriggerKind(StrEnum):
    """What a trigger waits for."""

    SCHEDULE = "schedule"
    TABLE = "table"
    DRIFT = "drift"
    QUALITY = "quality"
    SLO = "slo"
    HAND = "hand"


class TriggerSpec(Value, frozen=True, kw_only=True):
    """When this happens, start that.

    Attributes:
        on: what it waits for.
        source: endpoint (drift, quality, SLO) or table (new data) it waits on.
        schedule: cron expression or `15m`, for schedules.
        start: name of the training, ingestion or pipeline that is started.
        start_kind: `training`, `ingestion` or `pipeline`.
        cooldown_s: shortest time between two starts.
        labels_min: for drift and quality: labels since the last training that must have arrived first.
    """

    project: str
    name: str
    on: TriggerKind
    start: str
    start_kind: str = "training"
    source: str = ""
    schedule: str = ""
    cooldown_s: float = 60.0
    labels_min: int = 0
    rows_min: int = 1
    paused: bool = False
    revision: int = 0


class TriggerState(Value, frozen=True, kw_only=True):
    """A trigger as it stands. `reason` says why it has not fired, or what it fired for."""

    project: str
    name: str
    spec: TriggerSpec
    last_fired_us: int = 0
    next_due_us: int = 0
    pending_since_us: int = 0
    fired: int = 0
    last_run_id: str = ""
    last_incident_id: str = ""
    seen_seq: int = 0
    """The last event of the log it has taken in; a repeat changes nothing."""
    rows_seen: int = 0
    """Rows (new data) or labels (drift, quality) that arrived since it last fired."""
    fired_for: str = ""
    """Why it fired the last time."""
    reason: str = ""
    revision: int = 0
