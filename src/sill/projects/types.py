"""A whole project as one value: what `sill apply` sends."""

from sill.core.values import Value
from sill.endpoints.types import EndpointSpec
from sill.features.types import FeatureView
from sill.lake.types import TableSpec
from sill.monitors.types import MonitorSpec
from sill.runs.pipelines.types import PipelineSpec
from sill.runs.training.types import TrainingSpec
from sill.sources.types import IngestionSpec
from sill.triggers.types import TriggerSpec


class ProjectSpec(Value, frozen=True, kw_only=True):
    """Everything a project declares. Names within it are local to the project."""

    project: str
    note: str = ""
    code: str = ""
    tables: tuple[TableSpec, ...] = ()
    ingestions: tuple[IngestionSpec, ...] = ()
    features: tuple[FeatureView, ...] = ()
    trainings: tuple[TrainingSpec, ...] = ()
    pipelines: tuple[PipelineSpec, ...] = ()
    endpoints: tuple[EndpointSpec, ...] = ()
    monitors: tuple[MonitorSpec, ...] = ()
    triggers: tuple[TriggerSpec, ...] = ()


class Change(Value, frozen=True, kw_only=True):
    """One thing apply did: `created`, `changed`, `unchanged` or `removed`."""

    kind: str
    name: str
    change: str


class ApplyReport(Value, frozen=True, kw_only=True):
    """What apply did, in order."""

    project: str
    changes: tuple[Change, ...]
