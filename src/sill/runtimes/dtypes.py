"""The Open Inference Protocol's datatypes as NumPy's types. The table itself, without NumPy, is `fitting.NUMPY`."""

import sys
from typing import Any

import numpy as np

from sill.runtimes.fitting import NUMPY

BF16 = np.dtype([("bf16", "<u2")])
"""Two raw bytes a value, the upper half of an FP32: NumPy has no such number, and as UINT16 it would be mistaken for one."""
DTYPES: dict[str, "np.dtype[Any]"] = {name: np.dtype(kind) for name, kind in NUMPY.items()} | {"BF16": BF16}
LITTLE: dict[str, "np.dtype[Any]"] = {
    name: kind if sys.byteorder == "little" else kind.newbyteorder("<")
    for name, kind in DTYPES.items()
    if name != "BYTES"
}
"""As they go over a wire; texts have no fixed size."""
NAMES = {kind: name for name, kind in DTYPES.items()}


def widened(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """BF16 as FP32, which holds it exactly."""
    wide: np.ndarray[Any, Any] = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return wide
