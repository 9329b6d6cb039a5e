"""Columns in little space: how the reference is cut into bins, and how a window's values are counted.

Numbers go into a KLL sketch (Karnin, Lang, Liberty, FOCS 2016), which is exact up to `KLL_K` values and within 1 % of
rank beyond; texts are counted by category, those the reference does not know by hashed bin. Sketches of the same
profile can be merged: what comes out describes both parts together. NumPy and datasketches are imported on first use.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue
from sill.monitors.types import Profile, Sketch

if TYPE_CHECKING:
    import pyarrow as pa

KLL_K = 512
BINS_MAX = 10
REQUESTS_PER_BIN = 20
"""So many requests a bin should hold in a window, or the test's distribution is far from what it assumes."""
NAMES_MAX = 50
HASHED_BINS = 8
GRID_POINTS = 100
TEXT_LENGTH_MAX = 200
REFERENCE_ROWS_MAX = 10_000
COLUMNS_MAX = 500
LABEL = "label"
PREDICTION = "prediction"


def read_reference(data: bytes, window_requests: int, *, is_classifier: bool) -> dict[str, Profile]:
    """The profile of each column of a bundle's `reference.parquet`, but for the label.

    Raises:
        InvalidValue: it cannot be read, or has more columns than are watched.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        batch = next(file.iter_batches(batch_size=REFERENCE_ROWS_MAX), None)
    except (pa.ArrowException, OSError) as wrong:
        raise InvalidValue(f"reference.parquet cannot be read: {wrong}.") from wrong
    if batch is None:
        return {}
    names = [name for name in batch.schema.names if name != LABEL]
    if len(names) > COLUMNS_MAX:
        raise InvalidValue(f"reference.parquet has {len(names)} columns, at most {COLUMNS_MAX} are watched.")
    profiles = {}
    for name in names:
        is_text = name == PREDICTION and is_classifier
        profiles[name] = profile_column(batch.column(name), window_requests, is_text=is_text)
    return profiles


def profile_column(column: "pa.Array", window_requests: int, *, is_text: bool = False) -> Profile:
    """The profile of one column; numbers and booleans are numbers unless `is_text` says otherwise."""
    import pyarrow as pa

    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    values: list[Any] = column.to_pylist()
    if is_number and not is_text:
        return profile_numbers([number(value) for value in values], window_requests)
    return profile_texts([text(value) for value in values])


def profile_numbers(values: Sequence[float | None], window_requests: int) -> Profile:
    """Bins that each hold the same part of the reference; of few distinct values, one bin each."""
    import numpy as np

    known = np.sort(np.asarray([value for value in values if value is not None], dtype=np.float64))
    missing = len(values) - len(known)
    if len(known) == 0:
        return Profile(is_number=True, counts=(0, missing))
    bins = min(max(window_requests // REQUESTS_PER_BIN, 2), BINS_MAX)
    distinct = np.unique(known)
    if len(distinct) <= bins:
        # A value that was never seen, below or above, gets a bin of its own.
        edges = np.concatenate([[np.nextafter(distinct[0], -np.inf)], distinct])
    else:
        edges = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    grid = np.unique(np.quantile(known, np.linspace(0, 1, GRID_POINTS), method="inverted_cdf"))
    ranks = np.searchsorted(known, grid, side="right") / len(known)
    return Profile(
        is_number=True,
        counts=(*counts.tolist(), missing),
        edges=tuple(edges.tolist()),
        grid=tuple(grid.tolist()),
        grid_ranks=tuple(ranks.tolist()),
        mean=float(known.mean()),
    )


def profile_texts(values: Sequence[str | None]) -> Profile:
    """A bin for each of the most frequent categories, hashed bins for all others."""
    counted: dict[str, int] = {}
    for value in values:
        if value is not None:
            counted[value] = counted.get(value, 0) + 1
    names = tuple(sorted(counted, key=lambda name: (-counted[name], name))[:NAMES_MAX])
    profile = Profile(is_number=False, counts=(), names=names)
    sketch = update(Sketch(), profile, values)
    return Profile(is_number=False, counts=bin_counts(profile, sketch), names=names)


def update(sketch: Sketch, profile: Profile, values: Iterable[Any]) -> Sketch:
    """The sketch with more values of its column in it."""
    if profile.is_number:
        return add_numbers(sketch, [number(value) for value in values])
    counts, missing, count = dict(sketch.counts), sketch.missing, sketch.count
    known = frozenset(profile.names)
    for value in values:
        name = text(value)
        if name is None:
            missing += 1
            continue
        bin_name = name if name in known else _hashed(name)
        counts[bin_name] = counts.get(bin_name, 0) + 1
        count += 1
    return Sketch(counts=counts, count=count, missing=missing)


def add_numbers(sketch: Sketch, values: Sequence[float | None]) -> Sketch:
    """The sketch of numbers with more of them in it; what is not a finite number counts as missing."""
    import numpy as np

    known = [value for value in values if value is not None]
    kll = _open(sketch.kll)
    if known:
        kll.update(np.asarray(known, dtype=np.float64))
    return Sketch(
        kll=kll.serialize(),
        count=sketch.count + len(known),
        missing=sketch.missing + len(values) - len(known),
        total=sketch.total + math.fsum(known),
    )


def merge(one: Sketch, other: Sketch) -> Sketch:
    """Both together."""
    counts = dict(one.counts)
    for name, count in other.counts.items():
        counts[name] = counts.get(name, 0) + count
    kll = one.kll or other.kll
    if one.kll and other.kll:
        merged = _open(one.kll)
        merged.merge(_open(other.kll))
        kll = merged.serialize()
    return Sketch(
        kll=kll,
        counts=counts,
        count=one.count + other.count,
        missing=one.missing + other.missing,
        total=one.total + other.total,
    )


def bin_counts(profile: Profile, sketch: Sketch) -> tuple[int, ...]:
    """Values in each of the profile's bins; the last bin is for missing ones."""
    if not profile.is_number:
        hashed = [_bin_name(index) for index in range(HASHED_BINS)]
        return (*(sketch.counts.get(name, 0) for name in (*profile.names, *hashed)), sketch.missing)
    if not profile.edges or not sketch.count:
        return (*([0] * len(profile.edges)), sketch.count, sketch.missing)
    ranks = _open(sketch.kll).get_cdf(list(profile.edges), True)
    below = [round(rank * sketch.count) for rank in ranks]
    return (*(high - low for low, high in zip([0, *below], below, strict=False)), sketch.missing)


def ranks_at(sketch: Sketch, points: Sequence[float]) -> list[float]:
    """Share of the values at or below each point."""
    if not sketch.count or not points:
        return []
    return [float(rank) for rank in _open(sketch.kll).get_cdf(list(points), True)[:-1]]


def quantile(sketch: Sketch, rank: float) -> float:
    """The value that a share `rank` of all values do not exceed; 0 for none."""
    return float(_open(sketch.kll).get_quantile(rank, True)) if sketch.count else 0.0


def mean(sketch: Sketch) -> float | None:
    """The mean of the numbers in it."""
    return sketch.total / sketch.count if sketch.count and sketch.kll else None


def number(value: Any) -> float | None:
    """The value as a finite number, None for anything else: monitoring must not break on what clients send."""
    try:
        converted = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return converted if math.isfinite(converted) else None


def text(value: Any) -> str | None:
    """The value as a category; whole numbers are written the same whether they came as 1, 1.0 or "1"."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)[:TEXT_LENGTH_MAX]


def columns_of(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    """Rows as columns; a name that a row lacks is None there."""
    return {name: [row.get(name) for row in rows] for name in names}


def _hashed(name: str) -> str:
    return _bin_name(zlib.crc32(name.encode("utf-8", "surrogatepass")) % HASHED_BINS)


def _bin_name(index: int) -> str:
    return f"\x00{index}"  # no category starts with NUL: strict JSON refuses it


def _open(kll: bytes) -> Any:
    from datasketches import kll_doubles_sketch

    return kll_doubles_sketch.deserialize(kll) if kll else kll_doubles_sketch(KLL_K)
