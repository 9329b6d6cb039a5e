"""Reads one source whole: fetch, tell the kind of each file, read it, unify it, and put the files under each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.safety.addresses import Allowed
from sill.sources import columnar, csv_files, excel, json_files, media
from sill.sources.databases import SCHEMES as DATABASE_SCHEMES
from sill.sources.databases import read_database
from sill.sources.encodings import to_utf8
from sill.sources.failures import check_size, unreadable
from sill.sources.fetching import Fetcher, fill, shown
from sill.sources.limits import ReadLimits
from sill.sources.parts import Part
from sill.sources.types import Source
from sill.sources.unify import Unified, combine, unify

if TYPE_CHECKING:
    import pyarrow as pa

TYPED = frozenset({"parquet", "arrow", "images", "text"})


def read_source(source: Source, secret: str, fetcher: Fetcher, allowed: Allowed, limits: ReadLimits) -> Unified:
    """The rows of everything the source names.

    Args:
        secret: the value of `source.secret`; empty if it has none.
        allowed: addresses that a database may be read from.
    """
    where = shown(source.url)
    if source.url.partition("://")[0] in DATABASE_SCHEMES:
        raw = read_database(fill(source.url, secret), where, source.query, allowed, limits)
        return combine([unify(raw, source, where, limits, is_typed=True)], source, where)
    parts = [_with_kind(part, source) for part in fetcher.fetch(source, secret)]
    kinds = {part.kind for part in parts}
    if len(kinds & {"images", "text"}) and len(kinds) > 1:
        listed = ", ".join(sorted(kinds))
        raise unreadable(where, f"it mixes kinds of files: {listed}.", "Give one kind in one source.")
    if kinds <= {"images", "text"}:
        return combine([_read_media(parts, source, where, limits)], source, where)
    return combine(_read_tables(parts, source, limits), source, where)


def _with_kind(part: Part, source: Source) -> Part:
    """The part with the kind its bytes have. A format that was asked for only chooses among kinds of text."""
    asked, found = source.format, part.kind
    textual = {"csv", "jsonl", "json", "text"}
    if not asked or asked == found:
        return part
    if asked in textual and found in textual:
        return Part(part.name, part.inner, part.path, asked)
    raise unreadable(
        part.name,
        f"its content is {found}, not {asked} as `format` says.",
        "Leave `format` empty, or give another file.",
    )


def _read_media(parts: Sequence[Part], source: Source, where: str, limits: ReadLimits) -> Unified:
    is_images = parts[0].kind == "images"
    raw = media.read_images(parts, limits) if is_images else media.read_texts(parts, source.encoding, limits)
    unified = unify(raw, source, where, limits, is_typed=True)
    return unified._replace(table=_name_sources(unified.table, [part.name for part in parts]))


def _name_sources(table: "pa.Table", names: list[str]) -> "pa.Table":
    """Each row is a file of its own: `_source` is that file, `_source_row` 1."""
    import pyarrow as pa

    kept = [names[row - 1] for row in table.column("_source_row").to_pylist()]
    table = table.set_column(table.schema.get_field_index("_source"), "_source", pa.array(kept, pa.string()))
    ones = pa.array([1] * table.num_rows, pa.int64())
    return table.set_column(table.schema.get_field_index("_source_row"), "_source_row", ones)


def _read_tables(parts: Sequence[Part], source: Source, limits: ReadLimits) -> list[Unified]:
    found = []
    size = 0
    for part in parts:
        raw, note = _read_table(part, source, limits)
        unified = unify(raw, source, part.name, limits, is_typed=part.kind in TYPED)
        size += unified.table.nbytes
        check_size(part.name, size, limits)
        found.append(unified._replace(notes=(*([f"{part.name}: {note}"] if note else []), *unified.notes)))
    return found


def _read_table(part: Part, source: Source, limits: ReadLimits) -> "tuple[pa.Table, str]":
    if part.kind == "parquet":
        return columnar.read_parquet(part.path, part.name, limits), ""
    if part.kind == "arrow":
        return columnar.read_arrow(part.path, part.name, limits), ""
    if part.kind == "excel":
        return excel.read_excel(part.path, part.name, source.sheet, limits), ""
    decoded = to_utf8(part.path, part.name, source.encoding, part.path.parent)
    if part.kind == "csv":
        return csv_files.read_csv(decoded.path, part.name, source.delimiter, limits), decoded.note
    if part.kind == "jsonl":
        return json_files.read_json_lines(decoded.path, part.name, limits), decoded.note
    if part.kind == "json":
        return json_files.read_json(decoded.path, part.name, limits), decoded.note
    raise InvalidValue(f"{shorten(part.name)}: format {part.kind!r} is not a table.", field="format")
