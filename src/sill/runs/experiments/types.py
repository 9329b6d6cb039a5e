"""Experiments, as the API, the SDK and the store know them."""

from sill.core.values import Value
from sill.runs.types import Lifecycle

DEFAULT_ID = "0"
DEFAULT_NAME = "Default"


class Experiment(Value, frozen=True, kw_only=True):
    """A named group of runs. `id` counts up within its project; "0" is there from the first use on."""

    id: str
    project: str
    name: str
    artifact_location: str
    """`mlflow-artifacts:/…` (kept by this server), or a place the operator listed, which clients write to themselves."""
    tags: dict[str, str] = {}
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    created_us: int = 0
    updated_us: int = 0
    deleted_us: int = 0
    revision: int = 0


class ExperimentSpec(Value, frozen=True, kw_only=True):
    """An experiment to make."""

    name: str
    artifact_location: str = ""
    """Empty: artifacts are kept by this server."""
    tags: dict[str, str] = {}


class ExperimentChange(Value, frozen=True, kw_only=True):
    """What changes of an experiment: a new name (empty: the old one), tags set, tags taken away."""

    name: str = ""
    set_tags: dict[str, str] = {}
    delete_tags: tuple[str, ...] = ()


class ExperimentDeleted(Value, frozen=True, kw_only=True):
    """An experiment that was deleted with its runs, what that freed, and until when it can be restored (0: it is gone)."""

    id: str
    runs: int
    bytes_freed: int = 0
    restorable_until_us: int = 0
