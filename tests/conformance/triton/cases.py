"""The cases of the matrix, for every wire: datatype x class of shapes. NumPy alone, so that a client's own environment runs it.

The models are those of `sill.testing.identity_models`: `identity_KIND_DATATYPE` gives `INPUT0` back as `output`.
"""

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
"""The protocol has no JSON form of these for inputs; the client itself refuses to send it."""
SHAPES = {
    "row": [(1, 4), (3, 4)],
    "free": [(1, 1), (2, 7), (0, 3), (3, 0)],
    "image": [(1, 3, 5, 4), (2, 3, 0, 4)],
    "high": [(2, 2, 1, 2, 1, 2, 3)],
    "vector": [(1,), (5,), (0,)],
    "whole": [(2, 3)],
}
TEXTS = ["", "a", "ä€😀", "two\nlines", '"quoted" \\', "nul\0in", " ", "x" * 300]
BYTES_IN_JSON = [text for text in TEXTS if "\0" not in text]


def cases():
    """(model, datatype, shape, number) of every case."""
    for datatype in NUMPY:
        for kind, shapes in SHAPES.items():
            for number, shape in enumerate(shapes):
                yield f"identity_{kind}_{datatype.lower()}", datatype, shape, number


def values(datatype, shape, is_json=False):
    """An array that holds the ends of the datatype where there is room; texts are bytes, as the clients want them."""
    size = int(np.prod(shape))
    if datatype == "BYTES":
        texts = BYTES_IN_JSON if is_json else TEXTS
        found = np.empty(size, dtype=object)
        found[:] = [texts[place % len(texts)].encode() for place in range(size)]
        return found.reshape(shape)
    kind = NUMPY[datatype]
    if datatype == "BOOL":
        return (np.arange(size) % 2 == 0).reshape(shape)
    bounds = np.finfo(kind) if datatype.startswith("FP") else np.iinfo(kind)
    ends = np.array([bounds.min, bounds.max, 0, 1], dtype=kind)
    return np.resize(ends, size).astype(kind).reshape(shape)


def same(array, other):
    """Equal in shape and in every value."""
    if array.shape != other.shape:
        return False
    if array.dtype == object or other.dtype == object:
        as_bytes = [one.encode() if isinstance(one, str) else bytes(one) for one in other.reshape(-1)]
        return list(array.reshape(-1)) == as_bytes
    return array.dtype == other.dtype and array.tobytes() == other.tobytes()
