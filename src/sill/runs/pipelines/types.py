"""Pipelines: steps, each a run."""

from typing import Any

from sill.core.values import Value
from sill.runs.types import Resources


class StepSpec(Value, frozen=True, kw_only=True):
    """One step: a function of the project's code, or a command. `needs` names the steps it waits for.

    A step with `cache` is not run again when its code, params and inputs equal those of a finished step.
    """

    name: str
    function: str = ""
    command: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    cache: bool = True
    retries: int = 0
    timeout_s: float = 0.0
    resources: Resources = Resources()


class PipelineSpec(Value, frozen=True, kw_only=True):
    """A graph of steps without cycles, at most 1,000."""

    project: str
    name: str
    steps: tuple[StepSpec, ...]
    module: str = ""
    code: str = ""
    every: str = ""
    revision: int = 0


class CachedStep(Value, frozen=True, kw_only=True):
    """A step's result, by what made it. `key` is from `rules.cache_key`."""

    project: str
    key: str
    run_id: str
    result: str
    """Digest of the result."""
    revision: int = 0
