"""Checks the outer form of models that are programs: JAX exports and TensorFlow SavedModels. They run confined only.

Of a SavedModel every operation of every graph and function is looked at; only those on our list may be there, none of
which reads a file, calls Python or reaches a network. Of a JAX export the envelope is; what its StableHLO calls outside
itself is looked at where it is loaded (`check_calls`), before any of it runs.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from sill.core.errors import InvalidValue
from sill.core.names import shorten

PROGRAM_BYTES_MAX = 512 * 1024**2
NODES_MAX = 2_000_000
_STABLEHLO = b"ML\xefR"
_STABLEHLO_SLOT = 13
"""Place of the program among the fields of the flat buffer's root (`Exported` in JAX's serialization.fbs)."""
_CALL = re.compile(r'(?:custom_call\s+@|call_target_name\s*=\s*")([^\s("]+)')
_CALLED = re.compile(
    r"lapack_[a-z0-9_]+|Sharding|SPMDFullToShardShape|SPMDShardToFullShape|shape_assertion|annotate_device_placement|"
    r"stablehlo\.dynamic_[a-z_]+|mhlo\.[a-z_]+|chlo\.[a-z_]+|TopK|ApproxTopK|AllocateBuffer|PartialReduce"
)
"""What JAX's own exporter lets a program call: linear algebra, shapes and placement. No callback into Python."""


def check_jax_export(file: BinaryIO) -> None:
    """The envelope that `jax.export` writes (a flat buffer) with a StableHLO program in it.

    Raises:
        InvalidValue: an offset leads outside, or there is no program.
    """
    data = file.read(PROGRAM_BYTES_MAX + 1)
    if len(data) > PROGRAM_BYTES_MAX:
        raise _refused("JAX", f"it has more than {PROGRAM_BYTES_MAX:,} bytes")
    table = _number(data, "<I", 0)
    vtable = table - _number(data, "<i", table)
    slot = 4 + 2 * _STABLEHLO_SLOT
    if _number(data, "<H", vtable) <= slot:
        raise _refused("JAX", "it has no program")
    field = _number(data, "<H", vtable + slot)
    vector = table + field + _number(data, "<I", table + field)
    size = _number(data, "<I", vector)
    if not field or vector + 4 + size > len(data) or data[vector + 4 : vector + 8] != _STABLEHLO:
        raise _refused("JAX", "it has no StableHLO program")


def check_calls(program: str) -> None:
    """Refuses a StableHLO program (as text) that calls what is not on our list.

    Raises:
        InvalidValue: that.
    """
    for name in set(_CALL.findall(program)):
        if not _CALLED.fullmatch(name):
            raise _refused("JAX", f"it calls {shorten(name)!r}, which is not on our list")


def check_saved_model(file: BinaryIO) -> None:
    """The operations of a SavedModel's graphs and functions, all of them on our list.

    Raises:
        InvalidValue: one that is not, or no sound protocol buffer.
    """
    data = file.read(PROGRAM_BYTES_MAX + 1)
    if len(data) > PROGRAM_BYTES_MAX:
        raise _refused("TensorFlow", f"its saved_model.pb has more than {PROGRAM_BYTES_MAX:,} bytes")
    operations: set[str] = set()
    functions: set[str] = set()
    count = 0
    for graph in _inside(data, [(0, len(data))], 2, 2):  # SavedModel.meta_graphs → MetaGraphDef.graph_def
        library = list(_fields(data, graph, 2))  # GraphDef.library
        made = list(_inside(data, library, 1))  # FunctionDefLibrary.function
        functions |= {_text(data, name) for name in _inside(data, made, 1, 1)}  # .signature.name
        for node in [*_fields(data, graph, 1), *_inside(data, made, 3)]:
            count += 1
            operations |= {_text(data, name) for name in _fields(data, node, 2)}
    if not operations or count > NODES_MAX:
        raise _refused("TensorFlow", f"it has no graph, or more than {NODES_MAX:,} nodes")
    if foreign := sorted(operations - OPERATIONS - functions):
        raise _refused("TensorFlow", f"its operation {shorten(foreign[0])!r} is not on our list")


_BY_PURPOSE = {
    "values, variables, calls": (
        "Const Placeholder PlaceholderWithDefault Identity IdentityN NoOp StopGradient PreventGradient Cast "
        "Shape ShapeN Size Rank VarHandleOp ReadVariableOp AssignVariableOp AssignAddVariableOp "
        "AssignSubVariableOp VarIsInitializedOp ResourceGather ResourceGatherNd VariableShape "
        "PartitionedCall StatefulPartitionedCall StatelessIf If StatelessWhile While StatelessCase Case "
        "Switch Merge Enter Exit NextIteration LoopCond RefSwitch RefMerge Assert EnsureShape CheckNumerics "
        "DisableCopyOnRead"
    ),
    "checkpoints: names and shards of the bundle's own variables": (
        "SaveV2 RestoreV2 MergeV2Checkpoints ShardedFilename StringJoin StaticRegexFullMatch Select Pack"
    ),
    "shapes and places": (
        "Reshape Squeeze ExpandDims Transpose Concat ConcatV2 Split SplitV Unpack Slice StridedSlice Gather "
        "GatherV2 GatherNd ScatterNd TensorScatterUpdate TensorScatterAdd Tile Fill Range LinSpace "
        "ZerosLike OnesLike Pad PadV2 MirrorPad BroadcastTo BroadcastArgs BroadcastGradientArgs Reverse "
        "ReverseV2 ReverseSequence Roll Where OneHot Unique UniqueV2 SelectV2 TopK TopKV2 SortV2 "
        "SearchSorted LowerBound UpperBound Bincount DenseBincount SpaceToBatchND BatchToSpaceND "
        "SpaceToDepth DepthToSpace InvertPermutation DynamicStitch DynamicPartition MatrixBandPart "
        "MatrixDiag MatrixDiagV3 MatrixSetDiagV3 MatrixDiagPartV3 Diag DiagPart TensorListReserve "
        "TensorListFromTensor TensorListStack TensorListGetItem TensorListSetItem TensorListLength "
        "TensorListElementShape EmptyTensorList TensorListPushBack TensorListPopBack"
    ),
    "arithmetic": (
        "Add AddV2 AddN Sub Mul Div RealDiv DivNoNan MulNoNan FloorDiv FloorMod Mod TruncateDiv TruncateMod "
        "Neg Abs Sign Square SquaredDifference Sqrt Rsqrt Reciprocal Inv Pow Exp Expm1 Log Log1p Sin Cos "
        "Tan Asin Acos Atan Atan2 Sinh Cosh Tanh Asinh Acosh Atanh Erf Erfc Erfinv Ndtri Lgamma Digamma "
        "Floor Ceil Round Rint Maximum Minimum ClipByValue IsNan IsInf IsFinite Equal NotEqual Less "
        "LessEqual Greater GreaterEqual ApproximateEqual LogicalAnd LogicalOr LogicalNot BitwiseAnd "
        "BitwiseOr BitwiseXor Invert LeftShift RightShift Cumsum Cumprod Xdivy Xlogy Xlog1py Sum Mean Prod "
        "Max Min All Any ArgMax ArgMin EuclideanNorm SegmentSum SegmentMean SegmentMax UnsortedSegmentSum "
        "UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd SparseSegmentSum SparseSegmentMean "
        "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum L2Loss MatrixInverse MatrixDeterminant "
        "Cholesky Cross FFT IFFT RFFT IRFFT FFT2D RFFT2D Complex Real Imag ComplexAbs Angle Conj"
    ),
    "networks": (
        "BiasAdd BiasAddV1 Relu Relu6 LeakyRelu Elu Selu Softplus Softsign Sigmoid Softmax LogSoftmax "
        "Conv2D Conv3D DepthwiseConv2dNative Conv2DBackpropInput Conv3DBackpropInputV2 MaxPool MaxPoolV2 "
        "MaxPool3D AvgPool AvgPool3D LRN FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 ResizeBilinear "
        "ResizeNearestNeighbor ResizeBicubic ResizeArea CropAndResize NonMaxSuppressionV3 "
        "NonMaxSuppressionV4 NonMaxSuppressionV5 CombinedNonMaxSuppression ExtractImagePatches "
        "AdjustContrastv2 AdjustHue AdjustSaturation RGBToHSV HSVToRGB InTopKV2"
    ),
    "chance (dropout and its kin, off while serving)": (
        "RandomUniform RandomStandardNormal TruncatedNormal StatelessRandomUniformV2 "
        "StatelessRandomNormalV2 StatelessRandomGetKeyCounter StatelessRandomGetAlg RandomUniformInt "
        "StatelessRandomUniformIntV2"
    ),
    "texts and tables that lie in the graph itself": (
        "StringLower StringUpper StringStrip StringLength StringSplitV2 StringToNumber "
        "StringToHashBucketFast AsString RegexReplace RegexFullMatch StaticRegexReplace Substr StringFormat "
        "HashTableV2 LookupTableFindV2 LookupTableImportV2 LookupTableSizeV2 LookupTableExportV2 "
        "InitializeTableV2 Bucketize RaggedTensorToTensor RaggedTensorToSparse RaggedRange RaggedGather "
        "SparseToDense SparseReshape SparseFillEmptyRows SparseTensorDenseMatMul"
    ),
}
OPERATIONS = frozenset(word for words in _BY_PURPOSE.values() for word in words.split())
"""TensorFlow operations that compute with what they are given. `RestoreV2` and `SaveV2` reach the model's own folder and a
scratch folder only, since the process is confined."""

Span = tuple[int, int]


def _inside(data: bytes, spans: Iterable[Span], *numbers: int) -> Iterator[Span]:
    """The fields at the end of a path of field numbers, in every message on the way."""
    found = list(spans)
    for number in numbers:
        found = [inner for span in found for inner in _fields(data, span, number)]
    yield from found


def _fields(data: bytes, span: Span, wanted: int) -> Iterator[Span]:
    """Where the length-delimited fields of one number lie in a message."""
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, at = _varint(data, at, end)
        elif kind == 2:
            size, at = _varint(data, at, end)
            if at + size > end:
                raise _refused("TensorFlow", "a field reaches beyond its message")
            if number == wanted:
                yield at, at + size
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise _refused("TensorFlow", "it is no protocol buffer")
    if at != end:
        raise _refused("TensorFlow", "a field reaches beyond its message")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _refused("TensorFlow", "a number is cut short or too long")


def _text(data: bytes, span: Span) -> str:
    return data[span[0] : span[1]].decode("utf-8", "replace")


def _number(data: bytes, form: str, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(form):
        raise _refused("JAX", "an offset leads outside the file")
    found: int = struct.unpack_from(form, data, at)[0]
    return found


def _refused(family: str, why: str) -> InvalidValue:
    return InvalidValue(
        f"the {family} model is not accepted: {why}.",
        fix="Export the model to ONNX instead, or ask for the operation.",
        field="model",
    )
