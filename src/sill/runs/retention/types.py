"""How long what was deleted can be restored."""

from sill.core.values import Value

DAYS = 30.0
DAYS_MAX = 3_650.0


class RetentionPolicy(Value, frozen=True, kw_only=True):
    """How many days deleted runs, experiments and logged models of a project can be restored; then they are erased."""

    project: str
    days: float = DAYS
    updated_us: int = 0
    revision: int = 0


class RetentionSpec(Value, frozen=True, kw_only=True):
    """A policy to set. 0 days: what is deleted is erased within a minute."""

    days: float = DAYS


class RunsRestored(Value, frozen=True, kw_only=True):
    """Which runs were brought back."""

    runs: tuple[str, ...]


class Erased(Value, frozen=True, kw_only=True):
    """What was erased for good."""

    runs: int = 0
    experiments: int = 0
    logged_models: int = 0
    bytes_freed: int = 0
