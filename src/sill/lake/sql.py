"""SQL over the project's tables, by a DuckDB that can do nothing else.

The text is parsed before anything runs: one SELECT, tables of the project by their plain names, no function that reads
files, settings or other sources. The tables it names are read from the lake, verified, and handed over as Arrow; DuckDB
itself may open no file, load no extension and change no setting, and is interrupted when its time is over.
"""

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue, Limited, NotFound, Refused
from sill.core.names import shorten
from sill.lake.types import Table

if TYPE_CHECKING:
    import pyarrow as pa

QUERY_LENGTH_MAX = 100_000
TABLES_MAX = 50
TABLE_BYTES_MAX = 2 * 1024**3
"""Larger tables are not handed to DuckDB: they would not fit in memory beside others."""
QUERIES_AT_ONCE_MAX = 4
MEMORY = "1GB"
THREADS = 2
ROWS_PER_BATCH = 10_000
PLACE_LENGTH = 40
TRUNCATED = b"sill.truncated"
"""Key of the result's metadata that is there when rows beyond the limit were left out."""
TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})
FUNCTIONS_REFUSED = frozenset(
    {"getenv", "getvariable", "current_setting", "set_config", "write_log", "nextval", "currval", "sleep_ms"}
)
_CONFIG = {"threads": THREADS, "memory_limit": MEMORY, "autoinstall_known_extensions": "false"}
_LOCK = (
    "SET autoload_known_extensions=false",
    "SET allow_community_extensions=false",
    "SET python_enable_replacements=false",
    "SET temp_directory=''",
    "SET TimeZone='UTC'",
    "SET enable_external_access=false",
    "SET lock_configuration=true",
)


_running = threading.BoundedSemaphore(QUERIES_AT_ONCE_MAX)


@dataclass(frozen=True)
class Bounds:
    """How long a query may take and how many rows it may give."""

    seconds: float
    rows: int


def query(text: str, load: Callable[[str], "pa.Table"], bounds: Bounds) -> "pa.Table":
    """The result of one SELECT.

    Args:
        load: gives a table of the project by its name, or raises NotFound.
    Raises:
        InvalidValue: it is not SQL, or DuckDB found an error; the message has its first line.
        Refused: it is SQL that is not allowed here; the message says what is.
        Limited: it took too long.
    """
    if len(text) > QUERY_LENGTH_MAX:
        raise InvalidValue(
            f"the query has {len(text)} characters; at most {QUERY_LENGTH_MAX} are allowed.", field="query"
        )
    if not _running.acquire(timeout=bounds.seconds):
        raise Limited(f"{QUERIES_AT_ONCE_MAX} queries run already.", fix="Try again in a while.")
    try:
        return _answer(text, load, bounds)
    finally:
        _running.release()


def check_size(table: Table) -> None:
    """Refuse a table too big to be queried here."""
    if table.size_bytes > TABLE_BYTES_MAX:
        raise Refused(
            f"table {table.name!r} has {table.size_bytes} bytes; at most {TABLE_BYTES_MAX} are queried here.",
            fix="Read it with an engine that reads Iceberg, or scan some of its rows.",
        )


def _answer(text: str, load: Callable[[str], "pa.Table"], bounds: Bounds) -> "pa.Table":
    connection = _connect()
    try:
        names = _tables(connection, text)
        for name in names:
            connection.register(name, _filled(name, load(name.lower())))
        return _run(connection, text, bounds)
    finally:
        connection.close()


def table_names(text: str) -> tuple[str, ...]:
    """The tables a query reads, after the checks of `query`."""
    connection = _connect()
    try:
        return _tables(connection, text)
    finally:
        connection.close()


def _connect() -> Any:
    import duckdb

    connection = duckdb.connect(":memory:", config=dict(_CONFIG))
    for statement in _LOCK:
        connection.execute(statement)
    return connection


def _tables(connection: Any, text: str) -> tuple[str, ...]:
    """Check the statement; the tables it names."""
    import duckdb

    try:
        statements = connection.extract_statements(text)
        kinds = [str(one.type).rpartition(".")[2] for one in statements]
        if kinds != ["SELECT"]:
            raise Refused(
                f"the query is {', '.join(kinds[:5]) or 'empty'}; one SELECT is allowed.",
                fix="Write one SELECT. Tables are filled by ingestion, not by SQL.",
            )
        tree = json.loads(connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0])
    except duckdb.Error as wrong:
        raise _told(wrong) from wrong
    except RecursionError as deep:
        raise InvalidValue("the query is nested too deeply.", field="query") from deep
    if tree.get("error"):
        raise Refused(f"the query cannot be checked: {shorten(str(tree.get('error_message', '')), 200)}.")
    return _checked(tree)


def _checked(tree: Any) -> tuple[str, ...]:
    """Walk the parsed statement, refuse what is not allowed, and return the tables that are no WITH names."""
    named: dict[str, None] = {}
    defined: set[str] = set()
    for node in _nodes(tree):
        kind = node.get("type")
        if "cte_map" in node:
            defined |= {str(entry.get("key", "")).lower() for entry in node["cte_map"].get("map", [])}
        if "cte_name" in node:
            defined.add(str(node["cte_name"]).lower())
        if kind == "BASE_TABLE":
            if node.get("schema_name") or node.get("catalog_name"):
                path = [node.get("catalog_name"), node.get("schema_name"), node.get("table_name")]
                raise Refused(
                    f"{'.'.join(str(part) for part in path if part)!r} names a schema; only the project's tables are there.",
                    fix="Use the table's plain name; put it in double quotes if it holds . or -.",
                )
            named[str(node["table_name"])] = None
        elif kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name", "")).lower()
            if name not in TABLE_FUNCTIONS:
                raise Refused(
                    f"function {name!r} is not allowed; of those that give rows {', '.join(sorted(TABLE_FUNCTIONS))} are.",
                    fix="Read from a table of the project.",
                )
        elif kind in ("SHOW_REF", "COLUMN_DATA", "DELIM_GET"):
            raise Refused("DESCRIBE, SHOW and SUMMARIZE are not allowed.", fix="Look at the table's columns instead.")
        elif kind == "FUNCTION" and str(node.get("function_name", "")).lower() in FUNCTIONS_REFUSED:
            raise Refused(f"function {node['function_name']!r} is not allowed.", fix="Leave it out.")
    tables = tuple(name for name in named if name.lower() not in defined)
    if len(tables) > TABLES_MAX:
        raise Refused(f"the query names {len(tables)} tables; at most {TABLES_MAX} are allowed.")
    return tables


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _filled(name: str, table: "pa.Table") -> "pa.Table":
    if not table.column_names:
        raise NotFound(f"table {name!r} has no rows yet, and so no columns.", fix="Fill it first.")
    return table


def _run(connection: Any, text: str, bounds: Bounds) -> "pa.Table":
    import duckdb
    import pyarrow as pa

    timer = threading.Timer(bounds.seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        reader = connection.sql(text).to_arrow_reader(ROWS_PER_BATCH)
        batches, rows = [], 0
        for batch in reader:
            batches.append(batch)
            rows += batch.num_rows
            if rows > bounds.rows:
                break
        result = pa.Table.from_batches(batches, reader.schema)
    except (duckdb.InterruptException, pa.ArrowInvalid, OSError) as stopped:
        if "nterrupt" in str(stopped):
            raise Limited(
                f"the query took longer than {bounds.seconds:g} s and was stopped.",
                fix="Ask for less, or raise SILL_SQL_SECONDS_MAX.",
            ) from stopped
        raise _told(stopped) from stopped
    except duckdb.Error as wrong:
        raise _told(wrong) from wrong
    finally:
        timer.cancel()
    if rows > bounds.rows:
        return result.slice(0, bounds.rows).replace_schema_metadata({TRUNCATED: b"true"})
    return result


def _told(wrong: Exception) -> InvalidValue:
    lines = str(wrong).strip().splitlines() or [type(wrong).__name__]
    said = f"DuckDB says: {shorten(lines[0], 300)}{_place(lines)}"
    return InvalidValue(said, fix="Correct the query.", field="query")


def _place(lines: list[str]) -> str:
    """Where the error is, in the query's own words: DuckDB shows the line, and a caret in the next."""
    for shown, caret in itertools.pairwise(lines):
        if shown.startswith("LINE ") and set(caret.strip()) == {"^"}:
            at = caret.index("^")
            before = shown[:at].partition(": ")[2]
            return f" (behind {before[-PLACE_LENGTH:].strip()!r})" if before.strip() else ""
    return ""
