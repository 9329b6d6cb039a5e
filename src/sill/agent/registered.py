"""What a registered version, of whatever runtime, says to rows: by its own features, over the data's classes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sill.agent.data import Split, matrix
from sill.agent.platform import Platform
from sill.core.errors import SillError
from sill.models.types import ModelVersion
from sill.runs.training.evaluate import Incumbent
from sill.runs.training.parity import answer
from sill.runtimes.port import open_runtime

if TYPE_CHECKING:
    import numpy as np


def incumbent(platform: Platform, model: str, split: Split) -> Incumbent | None:
    """What the version that serves now says to the held-out rows; None if none does, or it cannot answer them."""
    version = platform.champion(model)
    if version is None:
        return None
    try:
        return Incumbent(version=version.version, predicted=predictions(platform, version, split))
    except SillError as unusable:
        print(f"the champion, version {version.version}, cannot be evaluated on these rows: {unusable}", flush=True)
        return None


def predictions(platform: Platform, version: ModelVersion, split: Split) -> "np.ndarray[Any, Any]":
    """Probabilities [n, k] over the data's classes, or values [n], for the held-out rows.

    Raises:
        SillError: its library is not here, or it takes or gives something else than such rows.
    """
    known, data = version.spec.signature, split.data
    with tempfile.TemporaryDirectory(prefix="sill-version-") as name:
        platform.model_files(version, Path(name))
        runtime = open_runtime(version.spec.runtime, Path(name))
        try:
            predicted = answer(runtime, matrix(split.held.table, known.features or data.features))
        finally:
            runtime.close()
    return align(predicted, known.classes or data.classes, data.classes) if data.classes else predicted


def align(probabilities: "np.ndarray[Any, Any]", theirs: Sequence[str], ours: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Probabilities [n, k'] over one model's classes, as [n, k] over another's; a class it never knew has 0.

    A row that has nothing left, or was never a number, is an even guess.
    """
    import numpy as np

    aligned = np.zeros((len(probabilities), len(ours)))
    for place, name in enumerate(ours):
        if name in theirs:
            aligned[:, place] = probabilities[:, theirs.index(name)]
    total = np.nan_to_num(aligned).sum(axis=1)
    lost = ~np.isfinite(aligned).all(axis=1) | (total <= 0)
    aligned[lost] = 1 / len(ours)
    return np.asarray(aligned / aligned.sum(axis=1, keepdims=True))
