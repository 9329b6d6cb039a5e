"""Checks that a skops file names only types from our own list. Loading it is left to the runtime."""

import re
from typing import Any, BinaryIO

from sill.core.errors import InvalidValue, SillError
from sill.core.names import shorten
from sill.safety.strict_json import decode_any
from sill.safety.zip_reader import CHUNK_BYTES, Member, inflate, read_members

SCHEMA_BYTES_MAX = 32 * 1024**2
ENTRIES_MAX = 10_000
RATIO_MAX = 1_100  # arrays of zeros reach zlib's limit and are honest

LOADERS = frozenset(
    {
        "BytearrayNode",
        "BytesNode",
        "DictNode",
        "JsonNode",
        "ListNode",
        "NdArrayNode",
        "ObjectNode",
        "RandomGeneratorNode",
        "RandomStateNode",
        "SetNode",
        "SliceNode",
        "SparseMatrixNode",
        "TreeNode",
        "TupleNode",
        "TypeNode",
        "DTypeNode",
        "MaskedArrayNode",
        "SGDNode",
        "LossNode",
        "DefaultDictNode",
        "DatetimeTimedeltaNode",
        "CachedNode",
    }
)
"""Nodes that hold data. Those that name a function, a method or a reducer are left out (CVE-2025-54413, 54886)."""


def walk_skops(file: BinaryIO) -> frozenset[str]:
    """The types the file names, all of them on our list.

    Raises:
        InvalidValue: not a sound zip with a `schema.json`, a node that can call something, or a type not listed.
    """
    try:
        members = {member.name: member for member in read_members(file, ENTRIES_MAX)}
        schema = decode_any(_read(file, members["schema.json"]))
    except KeyError as wrong:
        raise _refused("it has no schema.json") from wrong
    except SillError as wrong:
        raise _refused(wrong.message) from wrong
    types: set[str] = set()
    _collect(schema, types)
    for name in sorted(types):
        if not _is_listed(name):
            raise _refused(f"it holds an object of the type {shorten(name)!r}, which is not on our list")
    return frozenset(types)


_MODELS = (
    "calibration|cluster|compose|covariance|cross_decomposition|decomposition|discriminant_analysis|dummy|ensemble|"
    "feature_extraction|feature_selection|gaussian_process|impute|isotonic|kernel_approximation|kernel_ridge|"
    "linear_model|manifold|mixture|multiclass|multioutput|naive_bayes|neighbors|neural_network|pipeline|preprocessing|"
    "random_projection|semi_supervised|svm|tree|_loss"
)
_SKLEARN = re.compile(rf"sklearn\.(?:{_MODELS})(?:\._?[a-z0-9_]+)*\.[A-Z_][A-Za-z0-9_]*")
_LISTED = frozenset(
    {
        *(f"builtins.{name}" for name in ("dict", "list", "tuple", "set", "str", "bytes", "bytearray", "slice")),
        *(f"builtins.{name}" for name in ("int", "float", "bool", "complex", "NoneType")),
        *(f"numpy.{name}" for name in ("ndarray", "dtype", "bool", "bool_", "str_", "bytes_", "datetime64")),
        *(f"numpy.{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
        *(f"numpy.float{bits}" for bits in (16, 32, 64)),
        *(f"numpy.random.{name}" for name in ("RandomState", "Generator")),
        *(f"numpy.random.mtrand.{name}" for name in ("RandomState",)),
        *(f"numpy.random._generator.{name}" for name in ("Generator",)),
        *(f"numpy.ma.{name}" for name in ("MaskedArray",)),
        *(f"scipy.sparse._{name}.{name}_{form}" for name in ("csr", "csc", "coo") for form in ("matrix", "array")),
        *(
            f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
            for name in ("Euclidean", "SEuclidean", "Manhattan", "Chebyshev", "Minkowski", "Hamming", "Canberra")
            for bits in ("", 32, 64)
        ),  # of neighbours; one of them could hold a function (PyFuncDistance), so that each is named
        "collections.defaultdict",
        "collections.OrderedDict",
        "sklearn.utils._bunch.Bunch",
    }
)


def _is_listed(name: str) -> bool:
    return name in _LISTED or _SKLEARN.fullmatch(name) is not None


def _collect(node: Any, types: set[str]) -> None:
    if isinstance(node, list):
        for part in node:
            _collect(part, types)
    elif isinstance(node, dict):
        if "__class__" in node or "__module__" in node or "__loader__" in node:
            loader = node.get("__loader__")
            if loader not in LOADERS:
                raise _refused(f"it has a node of the kind {shorten(str(loader))!r}, which is not on our list")
            types.add(f"{node.get('__module__')}.{node.get('__class__')}")
        for part in node.values():
            _collect(part, types)


def _read(file: BinaryIO, member: Member) -> bytes:
    content = bytearray()
    for piece in inflate(file, member):
        content += piece
        if len(content) > SCHEMA_BYTES_MAX or len(content) > CHUNK_BYTES + RATIO_MAX * member.packed_bytes:
            raise _refused(f"its schema.json has more than {SCHEMA_BYTES_MAX:,} bytes")
    return bytes(content)


def _refused(why: str) -> InvalidValue:
    return InvalidValue(
        f"the skops file is not accepted: {why}", fix="Export the model to ONNX instead.", field="model"
    )
