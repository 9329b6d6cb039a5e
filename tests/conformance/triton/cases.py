"""The cases of the matrix, for every wire: datatype x class of shapes. NumPy alone, so that a client's own environment runs it.

The models are those of `sill.testing.identity_models`: `identity_KIND_DATATYPE` gives `INPUT0` back as `output`.
"""

from typing import NamedTuple

import numpy as np

NUMPY = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
NO_JSON = ("FP16",)
"""The protocol has no JSON form (nor typed contents) of these for inputs; the client itself refuses to send it."""
CLASSES = {
    "scalar": [("free", (1, 1)), ("vector", (1,))],
    "vector": [("vector", (5,)), ("row", (1, 4))],
    "batch": [("row", (3, 4)), ("free", (2, 7)), ("image", (1, 3, 5, 4)), ("whole", (2, 3))],
    "zero size": [("image", (2, 3, 0, 4)), ("free", (0, 3)), ("free", (3, 0)), ("vector", (0,))],
    "high rank": [("high", (2, 2, 1, 2, 1, 2, 3))],
    "large": [("free", (32, 512)), ("free", (256, 1024)), ("free", (1_200, 1024))],
}
"""By class: model and shape. The core of the matrix is the first of each."""
PLAIN_VALUES_MAX = 300_000
"""More values than these are sent as binary data only, and no texts: the client's own writing would be all that is measured."""
TEXTS = ["", "a", "ä€😀", "two\nlines", '"quoted" \\', "nul\0in", " ", "x" * 300]
BYTES_IN_JSON = [text for text in TEXTS if "\0" not in text]


class Case(NamedTuple):
    """One request, and so its answer."""

    model: str
    datatype: str
    shape: tuple[int, ...]
    is_plain: bool
    """JSON or typed contents, not binary data."""
    array: np.ndarray
    given: str = "INPUT0"
    wanted: str = "output"
    """Names of the input and of the output that is asked for."""


def every_case(*, is_core, plain=(False, True)):
    """The cases: binary, plain or both."""
    for is_plain in plain:
        for datatype in NUMPY:
            for kind, shape in shapes(is_core=is_core):
                is_much = np.prod(shape) > PLAIN_VALUES_MAX and (is_plain or datatype == "BYTES")
                if is_much or (is_plain and datatype in NO_JSON):
                    continue
                model = f"identity_{kind}_{datatype.lower()}"
                yield Case(model, datatype, shape, is_plain, values(datatype, shape, is_plain=is_plain))


def shapes(*, is_core):
    """Model and shape of every class."""
    return [one for found in CLASSES.values() for one in (found[:1] if is_core else found)]


def values(datatype, shape, *, is_plain=False):
    """An array that holds the ends of the datatype where there is room; texts are bytes, as the clients want them."""
    size = int(np.prod(shape))
    if datatype == "BYTES":
        texts = [text.encode() for text in (BYTES_IN_JSON if is_plain else TEXTS)]
        return np.resize(np.array(texts, dtype=object), size).reshape(shape)
    kind = NUMPY[datatype]
    if datatype == "BOOL":
        return (np.arange(size) % 2 == 0).reshape(shape)
    bounds = np.finfo(kind) if datatype.startswith("FP") else np.iinfo(kind)
    ends = np.array([bounds.min, bounds.max, 0, 1], dtype=kind)
    return np.resize(ends, size).astype(kind).reshape(shape)


def same(array, other):
    """Equal in shape and in every value."""
    if other is None or array.shape != other.shape:
        return False
    if array.dtype == object or other.dtype == object:
        as_bytes = [one.encode() if isinstance(one, str) else bytes(one) for one in other.reshape(-1)]
        return list(array.reshape(-1)) == as_bytes
    return array.dtype == other.dtype and array.tobytes() == other.tobytes()
