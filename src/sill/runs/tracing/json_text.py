"""A member of an object inside a JSON text, as SQL on both databases."""

from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from sill.core.errors import InvalidValue
from sill.core.names import shorten


class JsonMember(FunctionElement[str]):
    """`text -> outer ->> inner`: a text as it is, anything else as JSON, NULL where there is none."""

    type = Text()
    inherit_cache = True
    name = "json_member"


def json_member(column: Any, outer: str, inner: str) -> ColumnElement[str]:
    """The member `inner` of the object `outer` of the object that the column holds.

    Raises:
        InvalidValue: the name has a quotation mark, which SQLite's paths cannot have.
    """
    if '"' in inner:
        raise InvalidValue(
            f"{shorten(inner)!r} holds a quotation mark; such a name cannot be searched.", field="filter"
        )
    path = bindparam(None, f'$."{outer}"."{inner}"', Text)
    # Cast, or PostgreSQL takes a bound name for a number of a list.
    return JsonMember(column, path, cast(bindparam(None, outer), Text), cast(bindparam(None, inner), Text))


@compiles(JsonMember)
def _on_sqlite(element: JsonMember, compiler: Any, **options: Any) -> str:
    column, path, _, _ = element.clauses
    place = f"{compiler.process(column, **options)}, {compiler.process(path, **options)}"
    truths = f"CASE json_type({place}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
    return f"({truths} ELSE CAST(json_extract({place}) AS TEXT) END)"


@compiles(JsonMember, "postgresql")
def _on_postgres(element: JsonMember, compiler: Any, **options: Any) -> str:
    column, _, outer, inner = (compiler.process(part, **options) for part in element.clauses)
    return f"((CAST({column} AS json) -> {outer}) ->> {inner})"
