"""What the platform says of itself as a whole."""

from typing import Literal

from sill.core.values import Value
from sill.costs.types import Cost
from sill.endpoints.types import Endpoint
from sill.lake.types import Table
from sill.models.types import RegisteredModel
from sill.monitors.types import Incident
from sill.runs.types import Run
from sill.traffic.types import RevisionStats
from sill.triggers.types import TriggerState


class Health(Value, frozen=True, kw_only=True):
    """Whether the control plane is ready."""

    status: str
    version: str


class LoginLink(Value, frozen=True, kw_only=True):
    """An address that logs a browser in, once, within a minute."""

    url: str
    seconds: int


class Finding(Value, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "failure"]
    message: str
    fix: str = ""


class Overview(Value, frozen=True, kw_only=True):
    """What a project has and how it fares, in the order of the loop."""

    project: str
    tables: tuple[Table, ...]
    runs: tuple[Run, ...]
    """The newest first."""
    runs_waiting: int
    runs_going: int
    models: tuple[RegisteredModel, ...]
    endpoints: tuple[Endpoint, ...]
    traffic: dict[str, tuple[RevisionStats, ...]]
    incidents: tuple[Incident, ...]
    triggers: tuple[TriggerState, ...]
    cost: Cost
    predictions: int
