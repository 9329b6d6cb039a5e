"""What passes between the inference process and a model's worker: a head in MessagePack, then the tensors' bytes as they are.

Both ends check all they read: the worker may run code that nobody here vouches for.
"""

import socket
import struct
from collections.abc import Mapping
from math import prod
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue, SillError, TooLarge, Unavailable, every_error
from sill.runtimes.types import Signature

HEAD_BYTES_MAX = 64 * 1024**2
BODY_BYTES_MAX = 4 * 1024**3
TENSORS_MAX = 4_096
RANK_MAX = 32
_SIZE = struct.Struct("<I")
_KINDS = frozenset("biuf")


class TensorHead(msgspec.Struct, forbid_unknown_fields=True):
    """One tensor. `texts` holds the elements of a BYTES tensor, flat; other tensors' bytes follow the head."""

    name: str
    dtype: str
    shape: list[int]
    texts: list[Any] | None = None


class Failure(msgspec.Struct, forbid_unknown_fields=True):
    """An error as it crosses: its code, so that it is raised again as what it was."""

    code: str
    message: str
    fix: str = ""
    field: str = ""


class Head(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a message is about: `load`, `infer`, `stream`, `stop`; or `answer`, `part`, `end`."""

    kind: str
    tensors: list[TensorHead] = []
    failure: Failure | None = None
    signature: Signature | None = None
    driver: str = ""
    device: str = ""


def send(line: socket.socket, head: Head, tensors: Mapping[str, Any] | None = None) -> None:
    """Send a message; blocks until the other end took it.

    Raises:
        InvalidValue: a tensor of a type that does not cross; nothing was sent.
    """
    arrays = [_plain(array) for array in (tensors or {}).values()]
    head.tensors = [_head(name, array) for name, array in zip(tensors or {}, arrays, strict=True)]
    line.sendall(packed(msgspec.msgpack.encode(head)))
    for array, about in zip(arrays, head.tensors, strict=True):
        if about.texts is None and array.size:
            line.sendall(array.data.cast("B") if array.ndim else array.tobytes())


def receive(line: socket.socket) -> tuple[Head, dict[str, Any]]:
    """The next message with its tensors.

    Raises:
        EOFError: the other end is gone.
        TooLarge, InvalidValue: what it sent is no message.
    """
    coded = unpacked(line)
    try:
        head = msgspec.msgpack.decode(coded, type=Head)
    except msgspec.DecodeError as wrong:
        raise InvalidValue(f"the message cannot be read: {wrong}.") from wrong
    if len(head.tensors) > TENSORS_MAX:
        raise InvalidValue(f"the message has {len(head.tensors)} tensors; {TENSORS_MAX} are allowed.")
    return head, {one.name: _read(line, one) for one in head.tensors}


def packed(content: bytes) -> bytes:
    """Bytes with their number before them."""
    return _SIZE.pack(len(content)) + content


def unpacked(line: socket.socket, descriptors: list[int] | None = None) -> bytes:
    """What `packed` made, from the line.

    Args:
        descriptors: gets the open file that came with it, if one did.
    Raises:
        EOFError: the other end is gone.
        TooLarge: more than `HEAD_BYTES_MAX`.
    """
    if descriptors is None:
        start = _exactly(line, _SIZE.size)
    else:
        start, came, _, _ = socket.recv_fds(line, _SIZE.size, 1)
        descriptors += came
        start += _exactly(line, _SIZE.size - len(start)) if start else b""
    if not start:
        raise EOFError
    size = _SIZE.unpack(start)[0]
    if size > HEAD_BYTES_MAX:
        raise TooLarge(f"a message's head has {size} bytes; {HEAD_BYTES_MAX} are allowed.")
    return _exactly(line, size)


def as_failure(error: Exception) -> Failure:
    """The form in which an error crosses."""
    if isinstance(error, SillError):
        return Failure(error.code, error.message, error.fix, error.field)
    return Failure(
        Unavailable.code, f"the model failed: {type(error).__name__}: {str(error)[:300]}.", "Look at its code."
    )


def as_error(failure: Failure) -> SillError:
    """The error that crossed."""
    kind = every_error().get(failure.code, Unavailable)
    return kind(failure.message[:2_000], fix=failure.fix[:500], field=failure.field[:200])


def _plain(given: Any) -> Any:
    """The array with its bytes in a row, little end first."""
    array = np.asarray(given)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(array).reshape(array.shape)  # which makes rank 0 into rank 1


def _head(name: str, array: Any) -> TensorHead:
    if array.dtype.kind in "OSU":
        return TensorHead(name, "O", list(array.shape), [_text(one) for one in array.reshape(-1).tolist()])
    if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8:
        raise InvalidValue(
            f"tensor {name!r} is a {array.dtype}; whole numbers, floats, booleans and texts are allowed."
        )
    return TensorHead(name, array.dtype.newbyteorder("<").str, list(array.shape))


def _text(value: Any) -> str | bytes:
    return value if isinstance(value, str | bytes) else str(value)


def _read(line: socket.socket, head: TensorHead) -> Any:
    if len(head.shape) > RANK_MAX or any(size < 0 for size in head.shape):
        raise InvalidValue(f"tensor {head.name[:100]!r} has no shape that can be.")
    count = prod(head.shape)
    if head.texts is not None:
        if len(head.texts) != count or not all(isinstance(text, str | bytes) for text in head.texts):
            raise InvalidValue(f"tensor {head.name[:100]!r} has {len(head.texts)} texts for {count} places.")
        texts = np.empty(count, dtype=object)
        texts[:] = head.texts
        return texts.reshape(head.shape)
    try:
        dtype = np.dtype(head.dtype)
    except TypeError as wrong:
        raise InvalidValue(f"tensor {head.name[:100]!r} has no type that can be.") from wrong
    if dtype.kind not in _KINDS or dtype.itemsize > 8 or count * dtype.itemsize > BODY_BYTES_MAX:
        raise InvalidValue(f"tensor {head.name[:100]!r} has no type or size that can be.")
    array = np.empty(count, dtype)
    if count:
        _fill(line, array.data.cast("B"))
    return array.reshape(head.shape)


def _exactly(line: socket.socket, size: int) -> bytes:
    content = bytearray(size)
    _fill(line, memoryview(content))
    return bytes(content)


def _fill(line: socket.socket, place: memoryview) -> None:
    at = 0
    while at < len(place):
        count = line.recv_into(place[at:])
        if not count:
            raise EOFError
        at += count
