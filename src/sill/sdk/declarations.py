"""The small words of a project file: rules, sources, promises, and what may set off a training. All make plain values."""

from collections.abc import Sequence
from typing import Any, Literal

from sill.core.values import Value
from sill.endpoints.types import SLO, Rollout
from sill.lake.types import Action, Between, Cast, Fill, Matches, NotNull, OneOf, QualityGate, Rule, Unique
from sill.runs.training.types import GateSpec, Holdout, Tune
from sill.runs.types import Resources
from sill.sources.types import Source
from sill.triggers.types import TriggerKind

Gate = GateSpec
"""What a model must show before it may serve."""
Canary = Rollout
"""How a new revision takes over."""


def between(column: str, low: float | None = None, high: float | None = None, action: Action = "quarantine") -> Between:
    """Values lie within [low, high]; `repair` clips, `refuse` refuses the whole batch."""
    return Between(column=column, low=low, high=high, action=action)


def fill(
    column: str,
    strategy: Literal["median", "mean", "mode", "value"] = "median",
    value: str | float | int | bool | None = None,
) -> Fill:
    """Missing values become the batch's median, mean or mode, or a given value."""
    return Fill(column=column, strategy="value" if value is not None else strategy, value=value)


def one_of(column: str, values: Sequence[str | int], action: Action = "quarantine") -> OneOf:
    """Values are among `values`."""
    return OneOf(column=column, values=tuple(values), action=action)


def not_null(column: str, action: Literal["quarantine", "refuse"] = "quarantine") -> NotNull:
    """No value is missing."""
    return NotNull(column=column, action=action)


def unique(*columns: str, keep: Literal["first", "last"] = "last") -> Unique:
    """No two rows share these columns; of those that do, the last (or first) stays."""
    return Unique(columns=columns, keep=keep)


def cast(
    column: str,
    type: Literal["int64", "float64", "string", "bool", "timestamp", "date"],
    action: Literal["quarantine", "repair"] = "quarantine",
) -> Cast:
    """Values become this type."""
    return Cast(column=column, type=type, action=action)


def matches(column: str, pattern: str, action: Literal["quarantine", "refuse"] = "quarantine") -> Matches:
    """Texts match a regular expression in full (RE2)."""
    return Matches(column=column, pattern=pattern, action=action)


def read(url: str, **options: Any) -> Source:
    """A place to read from: `https://…`, `s3://…`, `postgresql://…`, or a local path or glob, which is uploaded first.

    Options are the fields of `Source`: format, query, delimiter, decimal, encoding, time_zone, times, rename, units ...
    """
    return Source(url=url, **options)


class StartOn(Value, frozen=True, kw_only=True):
    """What sets off a training of an endpoint's model. Made by `on_drift`, `on_quality`, `on_schedule`, `on_data`.

    Attributes:
        psi: for drift: smallest population stability index that counts; None leaves the monitor's own.
        accuracy_drop_max: for quality: how far accuracy may fall; None leaves the monitor's own.
        table: for data: the table that is waited on; empty takes the table behind the training's features.
    """

    on: TriggerKind
    psi: float | None = None
    accuracy_drop_max: float | None = None
    labels_min: int = 0
    rows_min: int = 1
    schedule: str = ""
    table: str = ""
    cooldown_s: float = 60.0


def on_drift(psi: float | None = None, labels_min: int = 0, cooldown_s: float = 60.0) -> StartOn:
    """Train again when an incident of drift is open and `labels_min` labels have come since the last training."""
    return StartOn(on=TriggerKind.DRIFT, psi=psi, labels_min=labels_min, cooldown_s=cooldown_s)


def on_quality(accuracy_drop_max: float | None = None, labels_min: int = 0, cooldown_s: float = 60.0) -> StartOn:
    """Train again when labels show that accuracy has fallen."""
    return StartOn(
        on=TriggerKind.QUALITY, accuracy_drop_max=accuracy_drop_max, labels_min=labels_min, cooldown_s=cooldown_s
    )


def on_schedule(every: str) -> StartOn:
    """Train again every `1h`, `15m`, `1d`, or by a cron expression."""
    return StartOn(on=TriggerKind.SCHEDULE, schedule=every)


def on_data(table: str = "", rows_min: int = 1, cooldown_s: float = 60.0) -> StartOn:
    """Train again when a table has got `rows_min` new rows."""
    return StartOn(on=TriggerKind.TABLE, table=table, rows_min=rows_min, cooldown_s=cooldown_s)


__all__ = [
    "SLO",
    "Canary",
    "Gate",
    "Holdout",
    "QualityGate",
    "Resources",
    "Rule",
    "StartOn",
    "Tune",
    "between",
    "cast",
    "fill",
    "matches",
    "not_null",
    "on_data",
    "on_drift",
    "on_quality",
    "on_schedule",
    "one_of",
    "read",
    "unique",
]
