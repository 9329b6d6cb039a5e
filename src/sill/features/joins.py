"""The point-in-time join: for each row of a spine, the newest features that were known at its time. Pure.

Both sides are sorted by (entity, time) and merged by binary search. Method: the "as of" join of time-series databases;
its promises are those of Feast's point-in-time join, with ties broken by row order.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

US_PER_S = 1_000_000


def join_as_of(
    spine: "pa.Table", features: "pa.Table", entity: Sequence[str], *, spine_time: str, time: str, ttl_s: int = 0
) -> "pa.Table":
    """The spine, row by row, with the feature columns of `features` behind it; missing where nothing was known.

    A feature row counts for a spine row of the same entity if its time is not after the spine row's and, with a TTL, not
    more than `ttl_s` before it. Of several the newest counts, of equally new ones the last in order. Entities or
    times that are missing match nothing.

    Args:
        spine_time: the spine's time column; empty: every feature row was known.
        time: the features' time column; empty: each row was always known, the last one counts.
    Raises:
        InvalidValue: a column is not there, or cannot be compared.
    """
    import numpy as np
    import pyarrow as pa

    for name in (*entity, *([spine_time] if spine_time else [])):
        if name not in spine.column_names:
            raise _missing(name, "spine", spine)
    codes, spine_codes = _codes(features, spine, entity)
    times = _micros(features, time, "features")
    asked = _micros(spine, spine_time, "spine") if time else None
    at = newest_at(codes, times, spine_codes, asked, ttl_s * US_PER_S if time and spine_time else 0)
    indices = pa.array(np.maximum(at, 0), mask=at < 0)
    names = [name for name in features.column_names if name not in (*entity, time)]
    twice = sorted(set(names) & set(spine.column_names))
    if twice:
        raise InvalidValue(
            f"the spine and the view both have column {twice[0]!r}.",
            fix="Rename it in the spine, or leave it out.",
            field="spine",
        )
    joined = spine
    for name in names:
        joined = joined.append_column(features.schema.field(name), features.column(name).take(indices))
    return joined


def newest_rows(features: "pa.Table", entity: Sequence[str], time: str) -> "pa.Table":
    """The newest row of each entity, in the order in which entities first appear; ties as `join_as_of`."""
    import numpy as np
    import pyarrow as pa

    codes, _ = _codes(features, features.slice(0, 0), entity)
    times = _micros(features, time, "features")
    usable = np.flatnonzero((codes >= 0) & ((times != _NO_TIME) if times is not None else True))
    keys = (times[usable], codes[usable]) if times is not None else (codes[usable],)
    order = usable[np.lexsort(keys)]
    is_last = np.append(codes[order][1:] != codes[order][:-1], True) if len(order) else np.zeros(0, bool)
    newest = order[is_last]
    first = np.full(codes.max(initial=-1) + 1, len(codes), np.int64)
    np.minimum.at(first, codes[usable], usable)
    return features.take(pa.array(newest[np.argsort(first[codes[newest]], kind="stable")]))


def newest_at(
    codes: "np.ndarray[Any, Any]",
    times: "np.ndarray[Any, Any] | None",
    asked_codes: "np.ndarray[Any, Any]",
    asked_times: "np.ndarray[Any, Any] | None",
    ttl_us: int,
) -> "np.ndarray[Any, Any]":
    """For each asked (entity, time) the index of the feature row that counts, or -1.

    Args:
        codes, asked_codes: entities as integers, -1 for one that matches nothing.
        times, asked_times: microseconds, `_NO_TIME` for missing; None: no such side.
    """
    import numpy as np

    usable = codes >= 0
    if times is not None:
        usable &= times != _NO_TIME
    rows = np.flatnonzero(usable)
    ranks, asked_ranks = _ranks(times, asked_times, rows, len(codes), len(asked_codes))
    span = int(max(ranks.max(initial=0), asked_ranks.max(initial=0))) + 1
    order = rows[np.lexsort((ranks[rows], codes[rows]))]  # stable: of equals the last row stands last
    sorted_keys = codes[order] * span + ranks[order]
    at = np.searchsorted(sorted_keys, asked_codes * span + asked_ranks, side="right") - 1
    found = np.full(len(asked_codes), -1, np.int64)
    in_range = (at >= 0) & (asked_codes >= 0)
    if asked_times is not None:
        in_range &= asked_times != _NO_TIME
    hits = np.flatnonzero(in_range)
    hits = hits[codes[order[at[hits]]] == asked_codes[hits]]
    if ttl_us and times is not None and asked_times is not None:
        hits = hits[asked_times[hits] - times[order[at[hits]]] <= ttl_us]
    found[hits] = order[at[hits]]
    return found


_NO_TIME = -(2**63)


def _ranks(times: Any, asked: Any, rows: Any, count: int, asked_count: int) -> tuple[Any, Any]:
    """Times as small integers of the same order, so that (entity, time) fits one 64-bit key."""
    import numpy as np

    if times is None:
        return np.zeros(count, np.int64), np.zeros(asked_count, np.int64)
    distinct = np.unique(times[rows])
    ranks = np.searchsorted(distinct, times, side="left").astype(np.int64) + 1
    if asked is None:
        return ranks, np.full(asked_count, len(distinct), np.int64)
    return ranks, np.searchsorted(distinct, asked, side="right").astype(np.int64)


def _codes(features: "pa.Table", spine: "pa.Table", entity: Sequence[str]) -> tuple[Any, Any]:
    """Entities of both sides as integers, the same for the same entity; -1 where a part is missing."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    count = features.num_rows
    codes = np.zeros(count + spine.num_rows, np.int64)
    is_known = np.ones(len(codes), bool)
    for name in entity:
        if name not in features.column_names:
            raise _missing(name, "view", features)
        column = features.column(name)
        other = _cast_key(spine.column(name), column.type, name)
        both = pa.chunked_array([*column.chunks, *other.chunks], column.type)
        encoded = pc.dictionary_encode(both).combine_chunks()
        encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
        part = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        is_known &= part >= 0
        # Made dense again after each part, so that products never leave 64 bits.
        _, codes = np.unique(codes * (len(encoded.dictionary) + 1) + np.maximum(part, 0), return_inverse=True)
        codes = codes.astype(np.int64)
    codes[~is_known] = -1
    return codes[:count], codes[count:]


def _cast_key(column: "pa.ChunkedArray", kind: "pa.DataType", name: str) -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(column, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as wrong:
        raise InvalidValue(
            f"entity column {name!r} is {column.type} in the spine and {kind} in the view.",
            fix=f"Give it as {kind}.",
            field=f"spine.{name}",
        ) from wrong


def _micros(table: "pa.Table", name: str, side: str) -> Any:
    """A time column as microseconds since 1970 UTC, `_NO_TIME` where it is missing; None if `name` is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not name:
        return None
    if name not in table.column_names:
        raise _missing(name, side, table)
    column = table.column(name)
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)):
        raise InvalidValue(
            f"time column {name!r} of the {side} is {kind}; a timestamp or date is needed.",
            fix="Name it in the source's `times`, or cast it in the view's SQL.",
            field=name,
        )
    zone = "UTC" if pa.types.is_timestamp(kind) and kind.tz else None
    micros = pc.cast(pc.cast(column, pa.timestamp("us", tz=zone), safe=False), pa.int64())
    return pc.fill_null(micros, _NO_TIME).to_numpy()


def _missing(name: str, side: str, table: "pa.Table") -> InvalidValue:
    listed = ", ".join(table.column_names[:30])
    return InvalidValue(f"the {side} has no column {name!r}; it has {listed or 'none'}.", field=side)
