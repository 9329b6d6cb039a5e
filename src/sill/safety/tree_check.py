"""Checks the outer form of XGBoost and LightGBM models. Their own parsers are not trusted and run in a worker."""

import mmap
import re
import struct

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.safety.strict_json import DEPTH_MAX, decode

JSON_BYTES_MAX = 1024**3
ITEMS_MAX = 5_000_000

Bytes = bytes | mmap.mmap


def walk_xgboost_json(data: Bytes) -> None:
    """Strict JSON with `version` and `learner`, the learner with its booster.

    Raises:
        InvalidValue: anything else.
    """
    if len(data) > JSON_BYTES_MAX:
        raise _refused("XGBoost", f"it has {len(data):,} bytes; {JSON_BYTES_MAX:,} are allowed. Save it as UBJ")
    model = decode(bytes(data[:]), _XgboostModel)
    if not {"gradient_booster", "learner_model_param", "objective"} <= model.learner.keys():
        raise _refused("XGBoost", "its learner lacks a booster, parameters or objective")


def walk_xgboost_ubj(data: Bytes) -> None:
    """Well-formed Universal Binary JSON with `version` and `learner` at the top.

    Raises:
        InvalidValue: a length beyond the end, nesting over 64, an unknown marker, or other keys.
    """
    reader = _Ubj(data)
    keys = reader.top()
    if set(keys) != {b"learner", b"version"}:
        raise _refused("XGBoost", f"its keys are {shorten(str(keys))}, expected learner and version once")


def walk_lightgbm_text(data: Bytes) -> None:
    """The header that LightGBM writes, and trees that lie exactly where `tree_sizes` says.

    LightGBM jumps to its trees by these sizes without looking (CVE-2024-43598).

    Raises:
        InvalidValue: anything else.
    """
    first = data.find(b"\nTree=0\n")
    header = bytes(data[: first if first >= 0 else 0])
    if len(header) > _HEADER_BYTES_MAX or not _LIGHTGBM.match(header):
        raise _refused("LightGBM", "its header is not the one LightGBM writes")
    sizes = re.search(rb"^tree_sizes=((?:\d{1,12} ?)+)$", header, re.MULTILINE)
    if sizes is None or header.count(b"\ntree_sizes=") != 1:
        raise _refused("LightGBM", "it has no tree sizes, or has them twice")
    at = first + 1
    for number, size in enumerate(sizes[1].split()):
        mark = b"Tree=%d\n" % number
        if data[at : at + len(mark)] != mark or at + int(size) > len(data):
            raise _refused("LightGBM", f"tree {number} is not where its size says")
        at += int(size)
    if bytes(data[at : at + 64]).strip().split(b"\n")[0] != b"end of trees":
        raise _refused("LightGBM", "its trees do not end where their sizes say")


class _XgboostModel(msgspec.Struct, forbid_unknown_fields=True):
    learner: dict[str, msgspec.Raw]
    version: list[int]


_HEADER_BYTES_MAX = 64 * 1024**2
_LIGHTGBM = re.compile(rb"tree\nversion=v[2-4]\n(?:num_class=\d{1,6}\n)")
_FIXED = {b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"L": 8, b"d": 4, b"D": 8}
_LENGTHS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}


class _Ubj:
    """Walks Universal Binary JSON without building anything. Source: ubjson.org, draft 12."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0
        self._items = 0

    def top(self) -> list[bytes]:
        if self._take(1) != b"{":
            raise _refused("XGBoost", "it is not an object")
        keys = self._object(1)
        if self._at != len(self._data):
            raise _refused("XGBoost", "something follows its end")
        return keys

    def _value(self, kind: bytes, depth: int) -> None:
        self._items += 1
        if depth > DEPTH_MAX or self._items > ITEMS_MAX:
            raise _refused("XGBoost", f"it is nested more than {DEPTH_MAX} levels, or has too many items")
        if kind in _FIXED:
            self._skip(_FIXED[kind])
        elif kind in (b"S", b"H"):
            self._skip(self._length())
        elif kind == b"{":
            self._object(depth + 1)
        elif kind == b"[":
            self._array(depth + 1)
        else:
            raise _refused("XGBoost", f"it has an unknown marker {kind!r}")

    def _object(self, depth: int) -> list[bytes]:
        keys = []
        if self._data[self._at : self._at + 1] in (b"$", b"#"):
            raise _refused("XGBoost", "an object with a count is not what XGBoost writes")
        while self._data[self._at : self._at + 1] != b"}":
            keys.append(self._take(self._length()))
            self._value(self._take(1), depth)
        self._at += 1
        if len(set(keys)) != len(keys):
            raise _refused("XGBoost", "a key is given twice")
        return keys

    def _array(self, depth: int) -> None:
        kind = b""
        if self._data[self._at : self._at + 1] == b"$":
            kind = self._take(2)[1:]
        if self._data[self._at : self._at + 1] == b"#":
            self._at += 1
            count = self._length()
            if kind in _FIXED:
                self._skip(count * _FIXED[kind])
                return
            for _ in range(count):
                self._value(kind or self._take(1), depth)
            return
        if kind:
            raise _refused("XGBoost", "a typed array has no count")
        while (marker := self._take(1)) != b"]":
            self._value(marker, depth)

    def _length(self) -> int:
        kind = self._take(1)
        form = _LENGTHS.get(kind)
        if form is None:
            raise _refused("XGBoost", f"a length has the marker {kind!r}")
        length: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if length < 0:
            raise _refused("XGBoost", "a length is negative")
        return length

    def _take(self, count: int) -> bytes:
        start = self._at
        self._skip(count)
        return bytes(self._data[start : self._at])

    def _skip(self, count: int) -> None:
        if self._at + count > len(self._data):
            raise _refused("XGBoost", "a length reaches beyond its end")
        self._at += count


def _refused(family: str, why: str) -> InvalidValue:
    return InvalidValue(
        f"the {family} model is not accepted: {why}.", fix=f"Save it again with {family}.", field="model"
    )
