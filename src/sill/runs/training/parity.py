"""Whether the exported model answers as the original does, on rows neither was fitted on."""

from typing import TYPE_CHECKING, Any

from sill.core.errors import Refused
from sill.runs.training.export import INPUT, OUTPUT, PROBABILITIES

if TYPE_CHECKING:
    import numpy as np

    from sill.runtimes.port import Runtime


def answer(runtime: "Runtime", x: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """What a loaded bundle says: probabilities [n, k] for a classifier, values [n] else.

    Raises:
        Refused: it gives neither.
        InvalidValue: it takes something else than rows of numbers.
    """
    import numpy as np

    outputs = runtime.infer({INPUT: np.ascontiguousarray(x, dtype=np.float32)})
    if PROBABILITIES in outputs:
        return np.asarray(outputs[PROBABILITIES], dtype=np.float64)
    if OUTPUT not in outputs:
        raise Refused(f"the model gives {', '.join(outputs)}; {PROBABILITIES} or {OUTPUT} can be compared.")
    return np.asarray(outputs[OUTPUT], dtype=np.float64).reshape(-1)


def check_parity(
    original: "np.ndarray[Any, Any]", exported: "np.ndarray[Any, Any]", difference_max: float, task: str
) -> float:
    """The largest difference of probabilities, or of values relative to their spread where that is above 1.

    Raises:
        Refused: it is above `difference_max`, or the shapes differ, or one has a value the other lacks.
    """
    import numpy as np

    if original.shape != exported.shape:
        raise Refused(f"the export gives shape {list(exported.shape)}, the original {list(original.shape)}.")
    is_number = np.isfinite(original)
    lost = int((~(is_number if original.ndim == 1 else is_number.all(axis=1))).sum())
    if lost:
        raise Refused(
            f"the model's answer to {lost} of {len(original)} held-out rows is not a number.",
            fix="Fill missing values in the pipeline, and look at how it was fitted.",
        )
    if not np.array_equal(np.isfinite(original), np.isfinite(exported)):
        raise Refused(
            "the export and the original differ in which answers are numbers.",
            fix="Fill missing values in the pipeline.",
        )
    scale = 1.0 if task == "classification" or not len(original) else max(1.0, float(np.nanstd(original)))
    difference = float(np.nanmax(np.abs(original - exported), initial=0.0)) / scale
    if difference > difference_max:
        raise Refused(
            f"the exported model differs from the original by {difference:.3g}; gate.parity_max is {difference_max:g}.",
            fix="Scale the inputs, use another estimator, or allow more with gate.parity_max.",
        )
    return difference
