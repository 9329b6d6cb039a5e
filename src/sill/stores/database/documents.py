"""A table of typed values: the struct as JSON, its key and a few fields as columns, its revision for compare-and-set.

The tenant is part of every key and of every query; no method works without it.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    func,
    select,
    tuple_,
)

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.stores.database import driver, references
from sill.stores.database.database import Tx
from sill.stores.database.schema import key_type, metadata
from sill.stores.database.sql import in_groups, insert_rows, run_for_each, run_sql

T = TypeVar("T", bound=msgspec.Struct)

PAGE_MAX = 1_000
_FIND_MANY = """SELECT t.doc FROM json_each(?) AS wanted CROSS JOIN "{table}" AS t
ON t.project = json_extract(wanted.value, '$[0]') AND t.key = json_extract(wanted.value, '$[1]')"""
"""For SQLite, which looks through the whole table for an `IN` of pairs; CROSS JOIN takes the wanted keys first."""


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Some of the values, in order, and where the next page starts (empty: this was the last)."""

    items: tuple[T, ...]
    next: str = ""


class Documents(Generic[T]):
    """Keeps values of one struct type. The struct has fields `project` and `revision`, and the field named `key`.

    Args:
        table: the table's name, plural.
        kind: the struct.
        key: the field that names a value within its project: `name` or `id`.
        columns: further text, enum, integer or true/false fields to keep as indexed columns, for `where`.
        plain: the same without an index each, for queries and indexes that the stage writes itself.
        noun: how messages call one value; by default the table's name without its `s`.
    """

    def __init__(
        self,
        table: str,
        kind: type[T],
        *,
        key: str = "name",
        columns: tuple[str, ...] = (),
        plain: tuple[str, ...] = (),
        noun: str = "",
    ) -> None:
        self.kind = kind
        self.key = key
        self.noun = noun or table.removesuffix("s").replace("_", " ")
        self.columns = columns + plain
        types = {field.name: field.type for field in msgspec.structs.fields(kind)}
        self.table = Table(
            table,
            metadata,
            Column("project", key_type(100), primary_key=True),
            Column("key", key_type(300), primary_key=True),
            Column("revision", BigInteger, nullable=False),
            Column("updated_us", BigInteger, nullable=False),
            *(Column(name, _column_type(table, name, types[name]), nullable=False) for name in self.columns),
            Column("doc", Text, nullable=False),
            *(Index(f"{table}_{name}", "project", name) for name in columns),
        )

        t = self.table  # made once: to put a statement together takes longer than to run it
        self._changing = ("revision", "updated_us", "doc", *self.columns)
        sets = ", ".join(f'"{name}" = ?' for name in self._changing)
        self._update = f'UPDATE "{table}" SET {sets} WHERE "project" = ? AND "key" = ?'  # noqa: S608  # our own names
        self._many = _FIND_MANY.format(table=table)
        self._one = select(t.c.doc).where(t.c.project == bindparam("of"), t.c.key == bindparam("named"))

    def get(self, connection: Connection, project: str, key: str) -> T:
        """The value.

        Raises:
            NotFound: it is not there, or is another tenant's.
        """
        return self._read(self._doc(connection, project, key))

    def find(self, connection: Connection, project: str, key: str) -> T | None:
        """The value, or None."""
        doc = self._find_doc(connection, project, key)
        return None if doc is None else self._read(doc)

    def find_many(self, connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], T]:
        """The values at these (project, key) that are there."""
        docs: list[str] = []
        for some in in_groups(keys):
            if driver.is_sqlite(connection):
                docs += [doc for (doc,) in run_sql(connection, self._many, (msgspec.json.encode(some).decode(),))]
            else:
                t = self.table
                docs += connection.execute(select(t.c.doc).where(tuple_(t.c.project, t.c.key).in_(some))).scalars()
        return {self._key(value): value for value in map(self._read, docs)}

    def page(
        self,
        connection: Connection,
        project: str,
        *,
        after: str = "",
        limit: int = 100,
        descending: bool = False,
        **where: Any,
    ) -> Page[T]:
        """Values of a project in the order of their keys, those that equal `where` (a tuple means any of)."""
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {PAGE_MAX}.", field="limit")
        t = self.table
        query = select(t.c.key, t.c.doc).where(t.c.project == project, *self._conditions(where))
        if after:
            query = query.where(t.c.key < after if descending else t.c.key > after)
        query = query.order_by(t.c.key.desc() if descending else t.c.key).limit(limit + 1)
        rows = connection.execute(query).all()
        items = tuple(self._read(row.doc) for row in rows[:limit])
        return Page(items=items, next=rows[limit - 1].key if len(rows) > limit else "")

    def every(self, connection: Connection, project: str = "", **where: Any) -> list[T]:
        """All values that equal `where`; of all projects if `project` is empty, which only workers may ask for."""
        t = self.table
        conditions = [*self._conditions(where), *([t.c.project == project] if project else [])]
        rows = connection.execute(select(t.c.doc).where(and_(True, *conditions)).order_by(t.c.project, t.c.key)).all()
        return [self._read(row.doc) for row in rows]

    def count(self, connection: Connection, project: str = "", **where: Any) -> int:
        """How many values equal `where`."""
        t = self.table
        conditions = [*self._conditions(where), *([t.c.project == project] if project else [])]
        return connection.execute(select(func.count()).select_from(t).where(and_(True, *conditions))).scalar_one()

    def create(self, tx: Tx, value: T) -> T:
        """Keep a new value at revision 1.

        Raises:
            Conflict: the key is taken.
        """
        project, key = self._key(value)
        if self.find(tx.connection, project, key) is not None:
            raise Conflict(f"{self.noun} {key!r} exists already in project {project!r}.", fix="Choose another name.")
        return self._insert(tx, [value])[0]

    def create_many(self, tx: Tx, values: Sequence[T]) -> list[T]:
        """`create` for many values whose keys nobody else can have, such as fresh ids.

        Raises:
            Conflict: a key is taken; nothing of the transaction remains.
        """
        return self._insert(tx, values)

    def replace_many(self, tx: Tx, changes: Sequence[tuple[T, T]]) -> list[T]:
        """`replace` for many values that were read in this same transaction.

        Args:
            changes: each value as it was read, and as it is to be kept; both of one key.
        """
        changed = [msgspec.structs.replace(after, revision=before.revision + 1) for before, after in changes]  # type: ignore[attr-defined]
        self._update_rows(
            tx,
            [
                (msgspec.json.encode(before).decode(), value)
                for (before, _), value in zip(changes, changed, strict=True)
            ],
        )
        return changed

    def replace(self, tx: Tx, value: T, *, expected_revision: int = 0) -> T:
        """Keep a changed value, one revision further.

        Args:
            expected_revision: the revision the change was made from; 0 takes `value.revision`.
        Raises:
            Conflict: somebody else changed it in between.
            NotFound: it is gone.
        """
        project, key = self._key(value)
        expected = expected_revision or value.revision  # type: ignore[attr-defined]
        before = self._doc(tx.connection, project, key)
        current = self._read(before).revision  # type: ignore[attr-defined]
        if current != expected:
            raise Conflict(
                f"{self.noun} {key!r} is at revision {current}, the change was made from {expected}.",
                fix="Read it again and repeat the change.",
                revision=current,
            )
        changed = msgspec.structs.replace(value, revision=current + 1)
        self._update_rows(tx, [(before, changed)])
        return changed

    def put(self, tx: Tx, value: T) -> T:
        """Keep a value, whether it is new or not, whatever its revision was."""
        project, key = self._key(value)
        current = self.find(tx.connection, project, key)
        if current is None:
            return self.create(tx, value)
        return self.replace(tx, value, expected_revision=current.revision)  # type: ignore[attr-defined]

    def delete(self, tx: Tx, project: str, key: str) -> None:
        """Remove a value.

        Raises:
            NotFound: it is not there.
        """
        before = self._doc(tx.connection, project, key)
        tx.execute(delete(self.table).where(self.table.c.project == project, self.table.c.key == key))
        references.note(tx.connection, self.table, project, key, before, "")

    def _insert(self, tx: Tx, values: Sequence[T]) -> list[T]:
        fresh = [msgspec.structs.replace(value, revision=1) for value in values]
        rows = [(*self._key(value), *self._row(tx, value)) for value in fresh]
        insert_rows(tx.connection, self.table, ("project", "key", *self._changing), rows)
        for project, key, _, _, doc, *_ in rows:
            references.note(tx.connection, self.table, project, key, "", doc)
        return fresh

    def _update_rows(self, tx: Tx, changes: Sequence[tuple[str, T]]) -> None:
        """Keep values; each with the JSON that was there before."""
        rows = [(*self._row(tx, value), *self._key(value)) for _, value in changes]
        run_for_each(tx.connection, self._update, rows)
        for (before, value), (_, _, doc, *_) in zip(changes, rows, strict=True):
            references.note(tx.connection, self.table, *self._key(value), before, doc)

    def _find_doc(self, connection: Connection, project: str, key: str) -> str | None:
        return connection.execute(self._one, {"of": project, "named": key}).scalar_one_or_none()

    def _doc(self, connection: Connection, project: str, key: str) -> str:
        doc = self._find_doc(connection, project, key)
        if doc is None:
            raise NotFound(
                f"no {self.noun} {key!r} in project {project!r}.", fix=f"List the {self.noun}s of the project."
            )
        return doc

    def _key(self, value: T) -> tuple[str, str]:
        return value.project, str(getattr(value, self.key))  # type: ignore[attr-defined]

    def _row(self, tx: Tx, value: T) -> tuple[Any, ...]:
        """What the columns of `_changing` keep."""
        doc = msgspec.json.encode(value).decode()
        columns = (_plain(getattr(value, name)) for name in self.columns)
        return (value.revision, tx.now_us, doc, *columns)  # type: ignore[attr-defined]

    def _conditions(self, where: dict[str, Any]) -> list[Any]:
        t = self.table
        return [
            t.c[name].in_([_plain(one) for one in value]) if isinstance(value, tuple) else t.c[name] == _plain(value)
            for name, value in where.items()
        ]

    def _read(self, doc: str) -> T:
        return msgspec.json.decode(doc, type=self.kind)


def _column_type(table: str, name: str, kind: Any) -> Any:
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if base in (int, bool):
        return BigInteger
    if get_origin(base) is Literal or (isinstance(base, type) and issubclass(base, str | Enum)):
        return key_type(300)
    raise TypeError(f"column {name!r} of {table!r}: text, enum, int and bool are allowed, not {kind}.")


def _plain(value: Any) -> Any:
    """What a column keeps: an enum's value, 0 or 1 for false and true, anything else as it is."""
    return int(value) if isinstance(value, bool) else getattr(value, "value", value)
