"""The list of model formats that may be loaded, told by their bytes, never by their name. Loading is left to `runtimes`."""

import io
import mmap
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from sill.core.errors import InvalidValue, SillError, UnsupportedType
from sill.safety.onnx_check import OnnxSummary, walk_onnx
from sill.safety.safetensors_check import SafetensorsSummary, walk_safetensors
from sill.safety.skops_check import walk_skops
from sill.safety.tree_check import walk_lightgbm_text, walk_xgboost_json, walk_xgboost_ubj
from sill.safety.zip_reader import read_members

Source = Path | BinaryIO | bytes


class ModelFormat(StrEnum):
    """What may be loaded. There is no pickle, and nothing that contains one."""

    ONNX = "onnx"
    SAFETENSORS = "safetensors"
    SKOPS = "skops"
    XGBOOST_JSON = "xgboost-json"
    XGBOOST_UBJ = "xgboost-ubj"
    LIGHTGBM = "lightgbm-text"


def identify(source: Source) -> ModelFormat:
    """The format, after the whole structure was checked. An unreadable file is an error, never a reason to try another.

    Raises:
        UnsupportedType: not on the list; the message names what was found.
        InvalidValue: a listed format whose structure is not sound.
    """
    with _opened(source) as data:
        found = _sniff(data)
        if found is ModelFormat.ONNX:
            walk_onnx(data)
        elif found is ModelFormat.SAFETENSORS:
            walk_safetensors(data)
        elif found is ModelFormat.SKOPS:
            walk_skops(_file(data))
        elif found is ModelFormat.XGBOOST_JSON:
            walk_xgboost_json(data)
        elif found is ModelFormat.XGBOOST_UBJ:
            walk_xgboost_ubj(data)
        else:
            walk_lightgbm_text(data)
    return found


def check_onnx(source: Source) -> OnnxSummary:
    """Facts about the ONNX model in the file; see `walk_onnx` for what is refused.

    Raises:
        UnsupportedType: the file is something else.
        InvalidValue: the model is not sound.
    """
    with _opened(source) as data:
        _expect(data, ModelFormat.ONNX)
        return walk_onnx(data)


def check_safetensors(source: Source) -> SafetensorsSummary:
    """Facts about the safetensors file; see `walk_safetensors` for what is refused.

    Raises:
        UnsupportedType: the file is something else.
        InvalidValue: the file is not sound.
    """
    with _opened(source) as data:
        _expect(data, ModelFormat.SAFETENSORS)
        return walk_safetensors(data)


def check_skops(source: Source) -> frozenset[str]:
    """The types a skops file names, all of them on our list; see `walk_skops` for what is refused.

    Raises:
        UnsupportedType: the file is something else.
        InvalidValue: the file is not sound.
    """
    with _opened(source) as data:
        _expect(data, ModelFormat.SKOPS)
        return walk_skops(_file(data))


Bytes = bytes | mmap.mmap
_ALLOWED = ", ".join(ModelFormat)
_FOREIGN = {
    b"\x89HDF\r\n\x1a\n": "HDF5 (Keras .h5)",
    b"\x93NUMPY": "a NumPy array file",
    b"GGUF": "GGUF",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x78\x01": "zlib (joblib)",
    b"\x78\x5e": "zlib (joblib)",
    b"\x78\x9c": "zlib (joblib)",
    b"\x78\xda": "zlib (joblib)",
    b"\x7fELF": "a program",
    b"PAR1": "Parquet",
    b"Rar!": "RAR",
}

_TEXT_PICKLE = re.compile(rb"c[A-Za-z_][A-Za-z0-9_.]*\n|\([dlictp]|[}\])]q")


def _sniff(data: Bytes) -> ModelFormat:
    start = bytes(data[:512])
    # First of all: its length prefix can look like any other magic.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**40:
        return ModelFormat.SAFETENSORS
    if (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or _is_text_pickle(data):
        raise _unsupported("a Python pickle, which runs code when it is loaded")
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise _unsupported(name)
    if start[257:262] == b"ustar":
        raise _unsupported("a tar archive")
    if start.startswith(b"PK"):
        return _sniff_zip(data)
    if start.startswith(b"tree\nversion="):
        return ModelFormat.LIGHTGBM
    if _is_xgboost_ubj(start):
        return ModelFormat.XGBOOST_UBJ
    if start.lstrip(b" \t\r\n").startswith(b'{"learner"') or start.lstrip(b" \t\r\n").startswith(b'{"version"'):
        return ModelFormat.XGBOOST_JSON
    if start[:1] == b"\x08" and len(start) > 4:  # field 1, ir_version: every writer puts it first
        return ModelFormat.ONNX
    raise _unsupported("something unknown" if start else "an empty file")


def _is_text_pickle(data: Bytes) -> bool:
    """Protocols 0 and 1 have no mark. They end with a dot, and start with a global, a mark or an empty container."""
    return bytes(data[-1:]) == b"." and _TEXT_PICKLE.match(data) is not None


def _is_xgboost_ubj(start: bytes) -> bool:
    return start[:1] == b"{" and start[1:2] in (b"L", b"l", b"i", b"U", b"I") and b"learner" in start[:32]


def _sniff_zip(data: Bytes) -> ModelFormat:
    try:
        names = {member.name for member in read_members(_file(data), 100_000)}
    except SillError as wrong:
        raise _unsupported(f"a zip file that is not sound ({wrong.message})") from wrong
    if any(name.rpartition("/")[2] == "data.pkl" or name.endswith((".pkl", ".pickle")) for name in names):
        raise _unsupported("a PyTorch archive with a pickle inside")
    if "model.weights.h5" in names or "config.json" in names:
        raise _unsupported("a Keras archive, whose config can name code")
    if any(name.endswith(".npy") for name in names) and "schema.json" not in names:
        raise _unsupported("a NumPy archive")
    if "schema.json" not in names:
        raise _unsupported("a zip file that holds no model we know")
    return ModelFormat.SKOPS


def _expect(data: Bytes, wanted: ModelFormat) -> None:
    found = _sniff(data)
    if found is not wanted:
        raise UnsupportedType(f"the file is {found}, expected {wanted}.", fix=f"Give a file of the form {wanted}.")


@contextmanager
def _opened(source: Source) -> Iterator[Bytes]:
    """The bytes; mapped, not read, where there is a real file. The file must not change meanwhile."""
    if isinstance(source, bytes):
        yield source
        return
    if isinstance(source, Path):
        # The path is ours (a blob's), still nothing but a plain file is opened.
        with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidValue(f"{source.name!r} is not a regular file.", field="model")
            with _mapped(file) as data:
                yield data
        return
    with _mapped(source) as data:
        yield data


@contextmanager
def _mapped(file: BinaryIO) -> Iterator[Bytes]:
    try:
        descriptor = file.fileno()
    except (OSError, AttributeError):  # a file in memory
        file.seek(0)
        yield file.read()
        return
    if os.fstat(descriptor).st_size == 0:
        yield b""
        return
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


def _file(data: Bytes) -> BinaryIO:
    if isinstance(data, bytes):
        return io.BytesIO(data)
    return cast(BinaryIO, _SeekableMap(data))


class _SeekableMap:
    """A mapped file with the three methods that the zip reader asks for; `mmap.seek` gives no position back."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data

    def seek(self, at: int, whence: int = 0) -> int:
        self._data.seek(at, 2 if whence == 2 else 0)
        return self._data.tell()

    def read(self, size: int = -1) -> bytes:
        return self._data.read(size if size >= 0 else None)


def _unsupported(what: str) -> UnsupportedType:
    return UnsupportedType(
        f"the model file is {what}; formats that can be loaded are {_ALLOWED}.",
        fix="Export the model to ONNX, or save its weights as safetensors.",
        field="model",
    )
