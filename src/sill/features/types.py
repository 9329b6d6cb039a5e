"""Feature views and what they yield."""

from typing import Any

from sill.core.values import Value


class FeatureView(Value, frozen=True, kw_only=True):
    """Features of an entity, defined once in SQL, for training sets and for online lookups alike.

    Attributes:
        entity: key columns; one feature row is about one entity at one time.
        table: the table the rows come from (`sql` may join others of the project).
        time: column that says when a row became known; empty means it always was.
        sql: a SELECT that yields entity, time and feature columns; empty means all columns of `table`.
        ttl_s: a value older than this is not used; 0 means it never ages.
    """

    project: str
    name: str
    entity: tuple[str, ...]
    table: str
    time: str = ""
    sql: str = ""
    ttl_s: int = 0
    revision: int = 0


class OnlineRow(Value, frozen=True, kw_only=True):
    """The newest features of one entity; `features` is empty if the entity is not known."""

    entity: dict[str, Any]
    features: dict[str, Any]
    time_us: int = 0


class LookupRequest(Value, frozen=True, kw_only=True):
    """Entities to look up online."""

    entities: tuple[dict[str, Any], ...]


class LookupResult(Value, frozen=True, kw_only=True):
    """One row for each entity asked for, in the same order."""

    rows: tuple[OnlineRow, ...]
    snapshot_id: int


class MaterializeReport(Value, frozen=True, kw_only=True):
    """What a materialisation put into the online store."""

    view: str
    entities: int
    snapshot_id: int
