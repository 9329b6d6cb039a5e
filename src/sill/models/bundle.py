"""What a version may be made of: file names, formats, sizes, signature. Pure; which runtimes there are is looked up."""

import re

from sill.core.errors import InvalidValue, NotFound, TooLarge, UnsupportedType
from sill.core.names import shorten
from sill.models.types import MANIFEST_FILE, VersionSpec
from sill.runtimes.drivers import Driver
from sill.runtimes.fitting import NUMPY
from sill.runtimes.port import driver
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.paths import check_relative

CARD_FILE = "card.md"
FILES_MAX = 64
PATH_LENGTH_MAX = 200
PARTS_MAX = 6
FILE_BYTES_MAX = 2 * 1024**3
BUNDLE_BYTES_MAX = 4 * 1024**3
TENSORS_MAX = 4_096
RANK_MAX = 16
DIMENSION_MAX = 2**40
FEATURES_MAX = 20_000
CLASSES_MAX = 100_000
SLICES_MAX = 1_000
INPUTS_MAX = 100
PARAMS_MAX = 500
TEXT_LENGTH_MAX = 10_000
ENDINGS = (
    *(".onnx", ".pt2", ".ubj", ".skops", ".safetensors", ".jax", ".parquet", ".md", ".json", ".txt"),
    *(".pb", ".index", ".data-00000-of-00001"),
)
"""The only kinds of file in a bundle. What could hold code (pickle, joblib, pt, h5, keras ...) has no place here."""
CODE_ENDING = ".py"
"""Taken only of a runtime that runs code, which an admin of models registers and a confined process runs."""
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TENSOR = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


def check_spec(spec: VersionSpec) -> None:
    """Refuses a version whose parts are not of the form they must have.

    Raises:
        InvalidValue: a path, digest, tensor, or count is outside what is allowed.
        UnsupportedType: a file of a kind that is not listed.
    """
    _check_count("inputs", len(spec.inputs), INPUTS_MAX)
    _check_count("params", len(spec.params), PARAMS_MAX)
    _check_count("evaluation.slices", len(spec.evaluation.slices), SLICES_MAX)
    if len(spec.note) > TEXT_LENGTH_MAX:
        raise InvalidValue(
            f"note has {len(spec.note)} characters, at most {TEXT_LENGTH_MAX} are allowed.", field="note"
        )
    runtime = runtime_of(spec)
    if runtime.model_file not in spec.files:
        raise InvalidValue(
            f"the bundle has no {runtime.model_file}: {shorten(', '.join(sorted(spec.files)) or 'nothing')}.",
            fix=f"Export the model for the runtime {spec.runtime!r} and add it as {runtime.model_file}.",
            field="files",
        )
    check_files(spec.files)
    for path in spec.files:
        check_path(path, with_code=runtime.runs_code)
    check_signature(spec.signature)


def check_files(files: dict[str, str]) -> None:
    """Refuses files (path → digest) that cannot lie in a folder, too many, or none.

    Raises:
        InvalidValue: that.
    """
    _check_count("files", len(files), FILES_MAX)
    if not files:
        raise InvalidValue("there are no files.", fix="Upload the model's and name them.", field="files")
    for path, digest in files.items():
        check_relative(path, "files")
        if not _DIGEST.fullmatch(digest):
            raise InvalidValue(
                f"{shorten(digest)!r} is not a digest: 64 hexadecimal digits are.", field=f"files.{shorten(path)}"
            )


def runtime_of(spec: VersionSpec) -> type[Driver]:
    """The driver of the runtime a version names; its library is not loaded.

    Raises:
        InvalidValue: nobody registered that runtime.
    """
    try:
        return driver(spec.runtime)
    except NotFound as unknown:
        raise InvalidValue(
            f"there is no runtime {shorten(spec.runtime)!r}.", fix=unknown.fix, field="runtime"
        ) from unknown


def check_path(path: str, *, with_code: bool = False) -> str:
    """The path itself, if it may name a file of a bundle.

    Args:
        with_code: Python files are taken too.
    Raises:
        InvalidValue: absolute, `..`, a backslash, an odd character, too long, or the manifest's own name.
        UnsupportedType: a kind of file that is not listed.
    """
    parts = path.split("/")
    if len(path) > PATH_LENGTH_MAX or len(parts) > PARTS_MAX or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidValue(
            f"{shorten(path)!r} is not a path in a bundle: up to {PARTS_MAX} parts of letters, digits and . _ - joined by /, "
            "none starting with a dot.",
            field="files",
        )
    if path == MANIFEST_FILE:
        raise InvalidValue(f"{MANIFEST_FILE} is made by the registry.", fix="Leave it out.", field="files")
    if not path.endswith((*ENDINGS, CODE_ENDING) if with_code else ENDINGS):
        raise UnsupportedType(
            f"{shorten(path)!r} is of a kind that a bundle may not hold; {', '.join(ENDINGS)} are allowed.",
            fix="Export the model to ONNX; nothing that needs unpickling is ever loaded.",
            field="files",
        )
    return path


def check_sizes(sizes: dict[str, int]) -> None:
    """Refuses a bundle that is too large.

    Args:
        sizes: bytes by path.
    Raises:
        TooLarge: one file, or all together.
    """
    for path, size in sizes.items():
        if size > FILE_BYTES_MAX:
            raise TooLarge(f"{path} has {size} bytes, at most {FILE_BYTES_MAX} are allowed.", field="files")
    total = sum(sizes.values())
    if total > BUNDLE_BYTES_MAX:
        raise TooLarge(f"the bundle has {total} bytes, at most {BUNDLE_BYTES_MAX} are allowed.", field="files")


def check_signature(signature: Signature) -> None:
    """Refuses a signature that cannot be one.

    Raises:
        InvalidValue: no tensor, a name twice, a datatype or shape that does not exist, features or classes twice.
    """
    for field, tensors in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if not tensors:
            raise InvalidValue(f"the signature has no {field}.", field=f"signature.{field}")
        _check_count(f"signature.{field}", len(tensors), TENSORS_MAX)
        _check_unique(f"signature.{field}", [tensor.name for tensor in tensors])
        for tensor in tensors:
            _check_tensor(tensor, f"signature.{field}")
    _check_count("signature.features", len(signature.features), FEATURES_MAX)
    _check_count("signature.classes", len(signature.classes), CLASSES_MAX)
    _check_unique("signature.features", list(signature.features))
    _check_unique("signature.classes", list(signature.classes))


def _check_tensor(tensor: TensorSpec, field: str) -> None:
    if not _TENSOR.fullmatch(tensor.name):
        raise InvalidValue(
            f"tensor name {shorten(tensor.name)!r} is empty, too long or has control characters.", field=field
        )
    if tensor.datatype not in NUMPY:
        raise InvalidValue(
            f"tensor {shorten(tensor.name)!r} has datatype {shorten(tensor.datatype)!r}; {', '.join(NUMPY)} exist.",
            field=field,
        )
    if len(tensor.shape) > RANK_MAX or not all(size == -1 or 1 <= size <= DIMENSION_MAX for size in tensor.shape):
        raise InvalidValue(
            f"tensor {shorten(tensor.name)!r} has shape {shorten(str(list(tensor.shape)))}; up to {RANK_MAX} sizes, each "
            "-1 (free) or at least 1, are allowed.",
            field=field,
        )


def _check_unique(field: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise InvalidValue(f"{field} has {shorten(name)!r} twice, or an empty name.", field=field)
        seen.add(name)


def _check_count(field: str, count: int, count_max: int) -> None:
    if count > count_max:
        raise InvalidValue(f"{count} {field} were given, at most {count_max} are allowed.", field=field)
