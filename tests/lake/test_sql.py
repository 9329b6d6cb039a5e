"""SQL: one SELECT over the project's own tables, and nothing else."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from sill.core.actors import PLATFORM
from sill.core.errors import InvalidValue, Limited, NotFound, Refused, SillError
from sill.lake import sql
from sill.lake.service import Lake
from sill.lake.types import SqlQuery
from sill.lake.wire import from_arrow_stream, from_rows, to_arrow_stream, to_json_rows

BOUNDS = sql.Bounds(seconds=5, rows=100)


def load(name: str) -> pa.Table:
    if name not in ("t", "my-table", "my.table"):
        raise NotFound(f"no table {name!r}.")
    return pa.table({"a": [1, 2, 3], "b": ["x", "y", None]})


def ask(text: str) -> pa.Table:
    return sql.query(text, load, BOUNDS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select sum(a) as n from t", [6]),
        ("with t2 as (select a from t where a > 1) select count(*) as n from t2", [2]),
        ("with recursive r(n) as (select 1 union all select n + 1 from r where n < 4) select max(n) as n from r", [4]),
        ('select count(*) as n from "my-table" join "my.table" using (a)', [3]),
        ("select n from range(3) r(n) order by n desc", [2, 1, 0]),
        ("select a as n from T where b is null", [3]),
        ("from t select a as n limit 1;", [1]),
        ("select (select max(a) from t) as n", [3]),
    ],
)
def test_a_select_is_answered(text: str, found: list[int]) -> None:
    assert ask(text).column("n").to_pylist() == found


@pytest.mark.parametrize(
    "text",
    [
        "attach '/tmp/x.db' as x",
        "copy t to '/tmp/stolen.csv'",
        "copy (select 1) to '/tmp/stolen.csv'",
        "install httpfs",
        "load httpfs",
        "pragma database_list",
        "set threads=64",
        "create table x as select 1",
        "insert into t values (1, 'x')",
        "drop table t",
        "export database '/tmp/x'",
        "call pragma_version()",
        "explain select 1",
        "describe t",
        "show tables",
        "summarize t",
        "select 1; select 2",
        "select 1; attach 'x'",
        "",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from read_parquet('s3://x/y')",
        "select * from glob('/*')",
        "select * from '/etc/passwd'",
        "select * from '/etc/passwd.csv'",
        "select * from duckdb_settings()",
        "select * from duckdb_secrets()",
        "select * from information_schema.tables",
        "select * from pg_catalog.pg_class",
        "select * from sqlite_master",
        "select * from main.t",
        "select getenv('HOME')",
        "select current_setting('home_directory')",
        "select * from t where a in (select size from read_blob('/etc/passwd'))",
        "with x as (select * from read_csv('/etc/passwd')) select * from x",
        "select * from query('select 1')",
        "select * from query_table('t')",
        "select * from json_execute_serialized_sql('{}')",
        "select * from load",
        "select * from BOUNDS",
        "select nothing from t",
        "selekt",
        "select " + "(" * 5000 + "1" + ")" * 5000,
        "select 1 -- " + "x" * 100_000,
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(SillError) as told:
        ask(text)

    assert told.value.status in (400, 404, 422)
    assert "passwd" not in str(told.value) or "root:" not in str(told.value)


def test_duckdbs_first_line_is_told() -> None:
    with pytest.raises(InvalidValue, match=r'DuckDB says: Binder Error: Referenced column "z" not found'):
        ask("select z from t")


def test_a_query_that_takes_too_long_is_stopped() -> None:
    before = threading.active_count()

    with pytest.raises(Limited, match=r"longer than 0.2 s"):
        sql.query("select sum(x.range * y.range) from range(100000000) x, range(100000) y", load, sql.Bounds(0.2, 10))
    assert threading.active_count() <= before + 1


def test_rows_beyond_the_limit_are_cut_and_marked() -> None:
    table = sql.query("select * from range(30000)", load, sql.Bounds(5, 7))

    assert table.num_rows == 7
    assert sql.TRUNCATED in table.schema.metadata
    assert sql.TRUNCATED not in (ask("select 1 as a").schema.metadata or {})


@pytest.mark.anyio
async def test_sql_reads_only_the_projects_tables_and_can_be_pinned(lake: Lake) -> None:
    first = await lake.append(PLATFORM, "p", "t", pa.table({"a": [1]}))
    await lake.append(PLATFORM, "p", "t", pa.table({"a": [2]}))
    await lake.append(PLATFORM, "q", "secret", pa.table({"a": [3]}))

    now = await lake.sql(PLATFORM, "p", SqlQuery(query="select sum(a) n from t"))
    then = await lake.sql(PLATFORM, "p", SqlQuery(query="select sum(a) n from t", snapshots={"t": first.snapshot_id}))

    assert (now.to_pylist(), then.to_pylist()) == ([{"n": 3}], [{"n": 1}])
    with pytest.raises(NotFound, match="'secret'"):
        await lake.sql(PLATFORM, "p", SqlQuery(query="select * from secret"))
    with pytest.raises(InvalidValue, match="limit 0"):
        await lake.sql(PLATFORM, "p", SqlQuery(query="select 1", limit=0))


def test_every_kind_of_value_becomes_json() -> None:
    table = pa.table(
        {
            "at": [datetime(2020, 1, 2, 3, 4, 5, 6, UTC)],
            "day": [date(2020, 1, 2)],
            "raw": [b"\xff"],
            "cost": [Decimal("1.20")],
            "nan": [float("nan")],
            "nested": [{"x": [1, None], "y": {"z": b"a"}}],
        }
    )

    assert to_json_rows(table) == (
        ("2020-01-02T03:04:05.000006Z", "2020-01-02", "/w==", "1.20", None, {"x": [1, None], "y": {"z": "YQ=="}}),
    )


def test_rows_of_json_may_lack_columns_but_not_mix_kinds() -> None:
    assert from_rows([{"a": 1}, {"b": "x", "a": 2.5}]).to_pydict() == {"a": [1.0, 2.5], "b": [None, "x"]}
    with pytest.raises(InvalidValue, match="column 'a' mixes int, str"):
        from_rows([{"a": 1}, {"a": "x"}])
    with pytest.raises(InvalidValue, match="row 1 is 5"):
        from_rows([{"a": 1}, 5])


def test_a_damaged_arrow_stream_is_refused() -> None:
    sound = to_arrow_stream(pa.table({"a": ["x", "yy", "zzz"]}))

    assert from_arrow_stream(sound).num_rows == 3
    for broken in (b"", b"\x00" * 100, sound[:50], sound[:-20] + b"\xff" * 12 + sound[-8:], b"PAR1" + sound):
        try:
            from_arrow_stream(broken)
        except InvalidValue:
            continue


def test_refused_is_what_a_forbidden_statement_gets() -> None:
    with pytest.raises(Refused, match="the query is ATTACH; one SELECT is allowed"):
        ask("attach 'x'")
