"""The files of a model version: the model, the monitors' reference, its evaluation, its card, its bill of materials."""

import hashlib
import io
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING, Any

import msgspec

from sill.core.clock import iso
from sill.core.errors import InvalidValue
from sill.core.values import Value
from sill.runs.training.types import Evaluation, TrainingSpec
from sill.runs.types import Provenance
from sill.runtimes.types import Signature

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

REFERENCE_ROWS_MAX = 10_000
LABEL_COLUMN = "label"
PREDICTION_COLUMN = "prediction"
RESERVED = (LABEL_COLUMN, PREDICTION_COLUMN)
"""Columns of the reference that no feature may be called."""


class Facts(Value, frozen=True, kw_only=True):
    """All that card and bill of materials are written from."""

    spec: TrainingSpec
    signature: Signature
    evaluation: Evaluation
    run_id: str
    made_us: int
    estimator: str
    """The fitted model's class, such as `sklearn.pipeline.Pipeline`."""
    params: dict[str, Any] = {}
    provenance: Provenance = Provenance()
    inputs: tuple[str, ...] = ()
    rows_fitted: int = 0
    rows_feedback: int = 0


def reference_table(
    features: Sequence[str],
    x: "np.ndarray[Any, Any]",
    labels: Sequence[Any],
    predictions: Sequence[Any],
    rows_max: int = REFERENCE_ROWS_MAX,
) -> "pa.Table":
    """Features, label and prediction of rows the model was fitted on, evenly thinned to `rows_max`.

    Raises:
        InvalidValue: a feature has a reserved name.
    """
    import numpy as np
    import pyarrow as pa

    if taken := sorted(set(features) & set(RESERVED)):
        raise InvalidValue(f"a feature may not be called {taken[0]!r}.", fix="Rename the column in the feature view.")
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), rows_max)).astype(int)) if len(x) else np.array([], int)
    columns: dict[str, Any] = {name: pa.array(x[kept, place].astype(float)) for place, name in enumerate(features)}
    columns[LABEL_COLUMN] = pa.array([labels[row] for row in kept])
    columns[PREDICTION_COLUMN] = pa.array([predictions[row] for row in kept])
    return pa.table(columns)


def parquet_bytes(table: "pa.Table") -> bytes:
    """A table as a Parquet file."""
    import pyarrow.parquet as pq

    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd")
    return written.getvalue()


def bundle_files(model: bytes, reference: "pa.Table", facts: Facts) -> dict[str, bytes]:
    """Path in the bundle → content, without the manifest, which the registry makes and signs."""
    return {
        "model.onnx": model,
        "reference.parquet": parquet_bytes(reference),
        "evaluation.json": msgspec.json.format(msgspec.json.encode(facts.evaluation), indent=2),
        "card.md": card(facts).encode(),
        "bom.json": msgspec.json.format(msgspec.json.encode(bill_of_materials(facts, model)), indent=2),
    }


def card(facts: Facts) -> str:
    """The model card, from recorded facts only; nothing in it is written by hand.

    Source of the headings: Mitchell et al., Model Cards for Model Reporting, 2019.
    """
    spec, report, signature = facts.spec, facts.evaluation, facts.signature
    parts = [
        f"# {spec.model}",
        f"Made {iso(facts.made_us)} by run `{facts.run_id}` of training `{spec.name}` in project `{spec.project}`.",
        "## Model details",
        _list(
            {
                "estimator": facts.estimator,
                "task": signature.task,
                "predicts": spec.label,
                "classes": ", ".join(signature.classes) or "-",
                "features": ", ".join(signature.features),
                "params": _json(facts.params),
                "seed": facts.provenance.seed,
                "code": facts.provenance.code or "-",
                "git revision": facts.provenance.git_revision or "-",
                "environment": facts.provenance.environment or "-",
                "python": facts.provenance.python,
                "machine": facts.provenance.machine,
            }
        ),
        "## Training data",
        _list(
            {
                "inputs": ", ".join(facts.inputs) or "-",
                "rows fitted on": facts.rows_fitted,
                "of these labelled requests": facts.rows_feedback,
                "held out": f"{report.rows} rows, chosen by a hash of the entity (salt `{spec.holdout.salt}`)",
            }
        ),
        "## Evaluation",
        _scores(report),
        _list(
            {
                "p99 of one prediction": f"{report.latency_ms_p99:.3f} ms",
                "largest difference between original and export": f"{report.parity_max_difference:.2e}",
                "difference to the incumbent": _delta(report, spec.gate.confidence),
            }
        ),
        *(["## Slices", _slices(report)] if report.slices else []),
    ]
    return "\n\n".join(parts) + "\n"


def bill_of_materials(facts: Facts, model: bytes) -> dict[str, Any]:
    """A CycloneDX 1.6 document: the model with its card, and the packages that were used.

    Source: CycloneDX 1.6 JSON schema, `machine-learning-model` component and `modelCard`.
    """
    spec, signature, report = facts.spec, facts.signature, facts.evaluation
    component = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{spec.model}",
        "name": spec.model,
        "version": facts.run_id,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(model).hexdigest()}],
        "modelCard": {
            "modelParameters": {
                "task": signature.task,
                "architectureFamily": facts.estimator,
                "datasets": [{"type": "dataset", "name": address} for address in facts.inputs],
                "inputs": [{"format": f"{t.name} {t.datatype} {list(t.shape)}"} for t in signature.inputs],
                "outputs": [{"format": f"{t.name} {t.datatype} {list(t.shape)}"} for t in signature.outputs],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    *({"type": name, "value": f"{value:.6g}"} for name, value in report.metrics.items()),
                    *(
                        {"type": report.metric, "value": f"{part.metric:.6g}", "slice": f"{part.column}={part.value}"}
                        for part in report.slices
                    ),
                ]
            },
        },
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": iso(facts.made_us),
            "tools": {"components": [{"type": "application", "name": "sill", "version": _version("sill")}]},
            "component": component,
        },
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{number}",
                "name": name,
                "version": number,
                "purl": f"pkg:pypi/{name}@{number}",
            }
            for name, number in sorted(used_packages().items())
        ],
        "dependencies": [
            {
                "ref": f"model:{spec.model}",
                "dependsOn": [f"pkg:pypi/{name}@{number}" for name, number in sorted(used_packages().items())],
            }
        ],
    }


def used_packages() -> dict[str, str]:
    """Name → version of the distributions whose modules this process has imported, in PyPI's spelling."""
    import sys

    loaded = {name.partition(".")[0] for name in sys.modules}
    found = {dist for module, dists in packages_distributions().items() if module in loaded for dist in dists}
    return {name.lower().replace("_", "-"): _version(name) for name in found}


def python_name() -> str:
    """Such as `CPython 3.11.7`."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _list(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _scores(report: Evaluation) -> str:
    theirs = report.incumbent_metrics
    head = (
        f"| metric | candidate | incumbent (version {report.incumbent_version}) |" if theirs else "| metric | value |"
    )
    lines = [head, "|---|---|---|" if theirs else "|---|---|"]
    for name, value in report.metrics.items():
        other = f" {theirs[name]:.4f} |" if name in theirs else (" - |" if theirs else "")
        lines.append(f"| {name} | {value:.4f} |{other}")
    return "\n".join(lines)


def _slices(report: Evaluation) -> str:
    lines = [f"| column | value | rows | {report.metric} | incumbent |", "|---|---|---|---|---|"]
    for part in report.slices:
        other = "-" if part.incumbent_metric is None else f"{part.incumbent_metric:.4f}"
        lines.append(f"| {part.column} | {part.value} | {part.rows} | {part.metric:.4f} | {other} |")
    return "\n".join(lines)


def _delta(report: Evaluation, confidence: float) -> str:
    if report.delta is None or report.delta_low is None or report.delta_high is None:
        return "none to compare with"
    bounds = f"{report.delta_low:+.4f} to {report.delta_high:+.4f} at {confidence:.0%}"
    return f"{report.delta:+.4f} {report.metric} ({bounds})"
