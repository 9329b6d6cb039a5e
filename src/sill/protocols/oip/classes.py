"""The classification extension: instead of scores, the likeliest classes as texts `SCORE:INDEX`.

Source: triton-inference-server/server, docs/protocol/extension_classification.md.
"""

from typing import Any

import numpy as np

from sill.core.errors import InvalidValue
from sill.core.names import shorten

Array = np.ndarray[Any, Any]


def classify(name: str, scores: Array, count: int) -> Array:
    """The `count` largest scores of each row, largest first, as texts `[rows, count]`.

    Raises:
        InvalidValue: the output does not hold one row of numbers for each answer.
    """
    if scores.ndim != 2 or scores.dtype.kind not in "fiu":
        raise InvalidValue(
            f"output {shorten(name)!r} of shape {list(scores.shape)} has no scores to be classified by.",
            fix="Ask for the tensor, or for an output of shape [n, classes].",
            field="outputs.parameters.classification",
        )
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, dtype=object)
    for row, places in enumerate(best.tolist()):
        for rank, place in enumerate(places):
            texts[row, rank] = f"{scores[row, place]:f}:{place}"
    return texts
