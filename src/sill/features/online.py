"""Puts the newest row of each entity into the online store, and takes rows out again.

Each state of a view has a namespace of its own, named after the view's revision and the snapshots behind it. Its last key
is a mark that says it is whole: without the mark nothing in it counts, so a lost or half-filled namespace is filled again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from sill.core.errors import InvalidValue, TooLarge
from sill.features.joins import newest_rows
from sill.features.keys import convert_entity, entity_key
from sill.features.types import FeatureView, OnlineRow
from sill.stores.kv.port import Online

if TYPE_CHECKING:
    import pyarrow as pa

ENTITIES_MAX = 5_000_000
ROWS_PER_PUT = 5_000
MARK = "whole"
"""No entity's key is this: those begin with `e` or `h`."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a namespace that is whole."""

    kinds: tuple[str, ...]
    entities: int
    snapshot_id: int


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """One entity's row as it is stored."""

    features: dict[str, Any]
    time_us: int


def namespace_of(view: FeatureView, snapshots: Mapping[str, int]) -> str:
    """The namespace of one state of a view."""
    state = msgspec.json.encode([msgspec.structs.replace(view, revision=0), sorted(snapshots.items())])
    return f"features/{view.project}/{view.name}/{hashlib.sha256(state).hexdigest()[:32]}"


def fill(online: Online, namespace: str, view: FeatureView, rows: "pa.Table", snapshot_id: int) -> int:
    """Put the newest row of each entity into the namespace; returns how many.

    Raises:
        TooLarge: more entities than the online store is to hold.
        InvalidValue: an entity column of a type that is no key.
    """
    newest = newest_rows(rows, view.entity, view.time)
    if newest.num_rows > ENTITIES_MAX:
        raise TooLarge(
            f"view {view.name!r} has {newest.num_rows:,} entities; at most {ENTITIES_MAX:,} are kept online."
        )
    kinds = tuple(_kind(newest.schema.field(name).type, name) for name in view.entity)
    names = [name for name in newest.column_names if name not in view.entity and name != view.time]
    for batch in newest.to_batches(max_chunksize=ROWS_PER_PUT):
        entities = zip(*(batch.column(name).to_pylist() for name in view.entity), strict=True)
        features = [[to_json(value) for value in batch.column(name).to_pylist()] for name in names]
        times = _micros(batch.column(view.time)) if view.time else [0] * batch.num_rows
        kept = zip(*features, strict=True) if names else [()] * batch.num_rows
        put = {
            entity_key(entity): msgspec.msgpack.encode(_Kept(dict(zip(names, values, strict=True)), at))
            for entity, values, at in zip(entities, kept, times, strict=True)
        }
        online.put_many(namespace, put)
    mark = Mark(kinds=kinds, entities=newest.num_rows, snapshot_id=snapshot_id)
    online.put_many(namespace, {MARK: msgspec.msgpack.encode(mark)})
    return mark.entities


def find_mark(online: Online, namespace: str) -> Mark | None:
    """The mark of the namespace, if it is whole."""
    (found,) = online.get_many(namespace, [MARK])
    return None if found is None else msgspec.msgpack.decode(found, type=Mark)


def find_rows(
    online: Online, namespace: str, view: FeatureView, mark: Mark, entities: Sequence[Mapping[str, Any]], oldest_us: int
) -> tuple[OnlineRow, ...]:
    """One row for each entity, in their order; those from before `oldest_us` have no features.

    Raises:
        InvalidValue: an entity lacks a column, has one too many, or a value of another type.
    """
    converted = [convert_entity(entity, view.entity, mark.kinds) for entity in entities]
    found = online.get_many(namespace, [entity_key(values) for values in converted])
    rows = []
    for values, data in zip(converted, found, strict=True):
        entity = {name: to_json(value) for name, value in zip(view.entity, values, strict=True)}
        kept = None if data is None else msgspec.msgpack.decode(data, type=_Kept)
        if kept is None or (view.time and kept.time_us < oldest_us):
            rows.append(OnlineRow(entity=entity, features={}))
        else:
            rows.append(OnlineRow(entity=entity, features=kept.features, time_us=kept.time_us))
    return tuple(rows)


def to_json(value: Any) -> Any:
    """A value as JSON carries it: times in ISO 8601, numbers that are none as missing, bytes in hex."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [to_json(one) for one in value]
    return value if value is None or isinstance(value, bool | int | str) else msgspec.to_builtins(value)


def _micros(column: "pa.Array") -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    micros: list[int] = pc.cast(pc.cast(column, pa.timestamp("us", tz=zone), safe=False), pa.int64()).to_pylist()
    return micros


def _kind(kind: "pa.DataType", name: str) -> str:
    import pyarrow as pa

    checks = {
        "bool": pa.types.is_boolean,
        "int": pa.types.is_integer,
        "float": pa.types.is_floating,
        "time": pa.types.is_timestamp,
        "date": pa.types.is_date,
        "text": lambda one: pa.types.is_string(one) or pa.types.is_large_string(one),
    }
    for spoken, check in checks.items():
        if check(kind):
            return spoken
    raise InvalidValue(f"entity column {name!r} is {kind}; {', '.join(checks)} can be looked up.", field="entity")
