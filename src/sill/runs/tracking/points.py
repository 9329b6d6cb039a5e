"""Points of a series as bytes and as arrays: packed, sorted, each once, cut into pages, thinned out. Pure.

A point is 24 bytes, little endian: step (int64), timestamp in milliseconds (int64), value (float64, NaN and infinities
as they are). NumPy is imported on first use: a control plane that only takes points never needs it.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from sill.core.errors import InvalidValue
from sill.core.names import shorten

if TYPE_CHECKING:
    import numpy as np

POINT_BYTES = 24
_VALUE = struct.Struct("<d")
_PLACE = re.compile(r"(-?\d{1,20})\.(-?\d{1,20})\.([0-9a-f]{16})")

Triple = tuple[int, int, float]
"""Step, timestamp in milliseconds, value."""
BY_TIME = ("ms", "step")
"""MLflow's order of a history: timestamp, step, value."""
BY_STEP = ("step", "ms")
"""The order of a curve: step, timestamp, value."""


class Place(NamedTuple):
    """Where a page ends: the first and second number of the order, and the value."""

    first: int
    second: int
    value: float


class Extent(NamedTuple):
    """The smallest and largest step and timestamp of some points, and how many they are."""

    step_min: int
    step_max: int
    ms_min: int
    ms_max: int
    points: int


def pack(triples: Sequence[Triple]) -> bytes:
    """The points as bytes, in the order given."""
    return struct.pack(f"<{'qqd' * len(triples)}", *chain.from_iterable(triples))


def extent(triples: Sequence[Triple]) -> Extent:
    """What the points, at least one, cover."""
    if len(triples) == 1:
        step, ms, _ = triples[0]
        return Extent(step, step, ms, ms, 1)
    steps, times, _ = zip(*triples, strict=True)
    return Extent(min(steps), max(steps), min(times), max(times), len(triples))


def rank(triple: Triple) -> Triple:
    """What the last point of a series is the largest of: step, timestamp, value, as MLflow has it; NaN counts as 0."""
    step, ms, value = triple
    return (step, ms, 0.0) if value != value else triple


def last(triples: Sequence[Triple]) -> Triple:
    """The last of the points, at least one."""
    if len(triples) == 1:
        return triples[0]
    total = sum(triple[2] for triple in triples)
    return max(triples, key=rank) if total != total else max(triples)


def unpack(pieces: Iterable[bytes]) -> Any:
    """All points of the pieces as one array."""
    import numpy as np

    return np.frombuffer(b"".join(pieces), dtype=_dtype())


def extent_of(points: Any) -> Extent:
    """`extent` of an array with at least one point."""
    steps, times = points["step"], points["ms"]
    return Extent(int(steps.min()), int(steps.max()), int(times.min()), int(times.max()), len(points))


def ordered(points: Any, order: tuple[str, str]) -> Any:
    """The points in an order, exact duplicates once. NaN stands where 0 would."""
    import numpy as np

    first = points[order[0]]
    if len(points) < 2 or bool(np.all(first[1:] > first[:-1])):
        return points
    values = points["value"]
    is_nan = np.isnan(values)
    ranked = np.where(is_nan, 0.0, values)
    at = np.lexsort((is_nan, ranked, points[order[1]], first))
    found, ranked, is_nan = points[at], ranked[at], is_nan[at]
    keys = (found["step"], found["ms"], ranked, is_nan)
    is_new = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return found[np.concatenate(([True], is_new))]


def behind(points: Any, order: tuple[str, str], place: Place) -> Any:
    """Those of the ordered points that come after a place."""
    import numpy as np

    first, second, values = points[order[0]], points[order[1]], points["value"]
    is_nan = np.isnan(values)
    ranked = np.where(is_nan, 0.0, values)
    wanted = 0.0 if place.value != place.value else place.value
    is_larger = (ranked > wanted) | ((ranked == wanted) & is_nan & (place.value == place.value))
    is_behind = (second > place.second) | ((second == place.second) & is_larger)
    return points[(first > place.first) | ((first == place.first) & is_behind)]


def place_of(triple: Triple, order: tuple[str, str]) -> Place:
    """Where a point lies in an order."""
    step, ms, value = triple
    return Place(step, ms, value) if order == BY_STEP else Place(ms, step, value)


def to_token(place: Place) -> str:
    """The place as text, for clients to send back."""
    return f"{place.first}.{place.second}.{_VALUE.pack(place.value).hex()}"


def from_token(token: str) -> Place:
    """The place a client sent back.

    Raises:
        InvalidValue: it is none of ours.
    """
    found = _PLACE.fullmatch(token)
    if found is None:
        raise InvalidValue(f"page token {shorten(token)!r} is not one of a history.", field="after")
    first, second = int(found[1]), int(found[2])
    if not all(-(2**63) <= number < 2**63 for number in (first, second)):
        raise InvalidValue(f"page token {shorten(token)!r} is not one of a history.", field="after")
    return Place(first, second, _VALUE.unpack(bytes.fromhex(found[3]))[0])


def thin(blocks: Iterable[Any], total: int, count: int) -> Any:
    """At most about `count` of the points that come in ordered blocks, `total` in all: first, last, and the smallest and
    largest of equally many neighbours, so that no peak is lost. NaN is left out where there are numbers beside it.

    Only one block is held at a time.
    """
    import numpy as np

    rest = np.empty(0, _dtype())
    if total <= count:
        return np.concatenate([rest, *blocks])
    size = -(-total // max(1, (count - 2) // 2))
    kept: list[Any] = []
    for block in blocks:
        kept += [] if kept else [block[:1]]
        rest = np.concatenate((rest, block))
        whole = len(rest) // size * size
        # One bucket stays for later, so that the last point of all is still at hand at the end.
        whole -= size if whole == len(rest) else 0
        if whole > 0:
            kept.append(_peaks(rest[:whole], size))
            rest = rest[whole:]
    if len(rest):
        kept += [_peaks(rest, len(rest)), rest[-1:]]
    found = np.concatenate([rest[:0], *kept])
    same = found.view("<i8").reshape(-1, 3)
    return found[np.concatenate(([True], (same[1:] != same[:-1]).any(axis=1)))] if len(found) else found


def _peaks(points: Any, size: int) -> Any:
    """The smallest and largest point of each `size` neighbours, in the order they have."""
    import numpy as np

    values = points["value"].reshape(-1, size)
    is_nan = np.isnan(values)
    low, high = np.where(is_nan, np.inf, values).argmin(axis=1), np.where(is_nan, -np.inf, values).argmax(axis=1)
    start = np.arange(len(values)) * size
    return points[np.unique(np.concatenate((start + low, start + high)))]


def _dtype() -> "np.dtype[np.void]":
    import numpy as np

    return np.dtype([("step", "<i8"), ("ms", "<i8"), ("value", "<f8")])
