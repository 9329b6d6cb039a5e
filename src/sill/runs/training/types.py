"""Declared trainings, their evaluation, and the gate a trained version must pass."""

from typing import Any

from sill.core.values import Value
from sill.runs.types import Resources


class Tune(Value, frozen=True, kw_only=True):
    """A search over parameters. `space` maps a name to `[low, high]` (float), `[low, high, "log"]`, `[low, high, "int"]`
    or `{"choices": [...]}`. Trials are runs. `workers` are tried at once: one in the training's own process, the
    others queued, where they wait for a place beside it as every run does. Those that have found none when nothing else
    is left to try are done in the training's process, so that a search ends on a full machine too."""

    trials: int = 20
    metric: str = "auc"
    direction: str = "maximize"
    space: dict[str, Any] = {}
    workers: int = 1
    sampler: str = "tpe"


class Holdout(Value, frozen=True, kw_only=True):
    """Rows kept from training for evaluation: a fraction, chosen by a hash of the entity so that it never changes sides."""

    fraction: float = 0.25
    salt: str = "holdout"


class GateSpec(Value, frozen=True, kw_only=True):
    """What a version must show before it may serve.

    Attributes:
        metric: what is compared; `auc`, `accuracy`, `f1`, `log_loss`, `rmse`, `mae`, `r2`.
        minimum: what even a first version must reach (for losses: at most); None for no bound.
        margin: the lower bound of the interval of the improvement over the incumbent must be above `-margin` ...
        improvement: ... and the improvement itself at least this.
        confidence: of that interval.
        slice_drop_max: no slice may be worse than the incumbent's by more.
        slice_rows_min: smaller slices are not judged.
        latency_ms_max: p99 of one prediction.
        approval: True means a person must approve too.
    """

    metric: str = "auc"
    minimum: float | None = None
    margin: float = 0.02
    improvement: float = 0.0
    confidence: float = 0.9
    slice_drop_max: float = 0.1
    slice_rows_min: int = 20
    latency_ms_max: float = 50.0
    parity_max: float = 1e-3
    approval: bool = False


class TrainingSpec(Value, frozen=True, kw_only=True):
    """A function of the project's code that fits a model, and all that belongs to it.

    Attributes:
        function: name of the function in the code; it is called as `fit(data, params, run)` and returns a fitted model.
        data: feature view whose training set is used.
        label: column to predict.
        feedback: endpoint whose labelled requests join the training set, if any.
        exclude: columns that are not features (entity, time and label never are).
        slices: columns whose values (or quartiles) the evaluation is broken down by.
        model: registered model name.
    """

    project: str
    name: str
    function: str
    module: str
    data: str
    label: str
    model: str
    feedback: str = ""
    exclude: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    params: dict[str, Any] = {}
    tune: Tune | None = None
    holdout: Holdout = Holdout()
    gate: GateSpec = GateSpec()
    resources: Resources = Resources(cpus=1.0, memory_bytes=1024**3)
    timeout_s: float = 3600.0
    retries: int = 1
    seed: int = 0
    every: str = ""
    code: str = ""
    revision: int = 0


class SliceResult(Value, frozen=True, kw_only=True):
    """Quality on one part of the held-out rows."""

    column: str
    value: str
    rows: int
    metric: float
    incumbent_metric: float | None = None


class Evaluation(Value, frozen=True, kw_only=True):
    """How a candidate did on held-out rows, beside the incumbent on the same rows.

    `delta` is candidate minus incumbent on the gate's metric (sign turned so that more is better), with the bounds of
    its paired bootstrap interval at the gate's confidence.
    """

    metric: str
    rows: int
    metrics: dict[str, float]
    incumbent_version: int = 0
    incumbent_metrics: dict[str, float] = {}
    delta: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    slices: tuple[SliceResult, ...] = ()
    latency_ms_p99: float = 0.0
    parity_max_difference: float = 0.0
    """Largest difference between the original model and its export, over the held-out rows."""
    data: str = ""
    """Address of the snapshot that was used."""
