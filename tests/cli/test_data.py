"""tables, sql, ingest, preview, snapshots, rollback, quarantine."""

import subprocess
from pathlib import Path

from tests.cli.terminal import Terminal

LONG = "select " + ", ".join(f"{at} as column_number_{at}" for at in range(30))


def test_a_source_is_looked_at_before_it_is_read(terminal: Terminal, shop: Path) -> None:
    shown = terminal.done("preview", "data/customers.csv", "--rows", "2", cwd=shop)

    assert "120 rows" in shown
    assert "seen_at" in shown
    assert len(terminal.json("preview", "data/customers.csv", "--rows", "2", cwd=shop)["rows"]) == 2
    terminal.sill("preview", "nope.csv").refused("not_found", "nope.csv")


def test_tables_are_listed_with_their_snapshot(terminal: Terminal, shop: Path) -> None:
    [table] = [each for each in terminal.json("-p", "shop", "tables") if each["name"] == "customers"]

    assert table["rows"] == 119
    assert f"{table['snapshot_id']}" in terminal.done("-p", "shop", "tables")


def test_an_empty_project_names_the_others(terminal: Terminal, shop: Path) -> None:
    shown = terminal.done("tables")

    assert shown.startswith("no table in project 'default'")
    assert "shop" in shown
    assert "-p or SILL_PROJECT" in shown
    assert terminal.json("tables") == []
    assert "customers" in terminal.done("tables", SILL_PROJECT="shop")
    terminal.refused(
        ("invalid_value|'../x' is not a name", "tables", "-p", "../x"),
        ("not_found|no project 'nosuch'|shop", "tables", "-p", "nosuch"),
    )


def test_sql_answers_as_a_table_and_as_json(terminal: Terminal, shop: Path) -> None:
    query = "select churned, count(*) n, sum(age) s, max(seen_at) t from customers group by 1 order by 1"
    rows = terminal.json("-p", "shop", "sql", query)

    assert [sorted(row) for row in rows] == [["churned", "n", "s", "t"]] * 2
    assert all(isinstance(row["s"], int) for row in rows)
    assert rows[0]["t"].startswith("2026-01-2")
    assert "false" in terminal.done("-p", "shop", "sql", query)
    assert terminal.json("-p", "shop", "sql", "select age, age from customers limit 1")[0].keys() == {"age", "age_1"}


def test_a_wide_answer_fits_the_terminal_and_names_what_is_left_out(terminal: Terminal, shop: Path) -> None:
    shown = terminal.on_terminal("-p", "shop", "sql", LONG)

    assert all(len(line) <= 80 for line in shown.lines), shown
    assert "column_number_29" in shown.out.split("more columns")[1]
    assert terminal.done("-p", "shop", "sql", LONG).count("\n") == 2


def test_wrong_sql_is_refused(terminal: Terminal, shop: Path) -> None:
    terminal.refused(
        ("invalid_value|selct", "-p", "shop", "sql", "selct"),
        ("not_found|no table 'nothing' in project 'shop'", "-p", "shop", "sql", "select * from nothing"),
        ("refused|ATTACH|one SELECT", "-p", "shop", "sql", "attach 'x.db'"),
        ("not_found|project 'default'|shop", "sql", "select * from customers"),
        ("invalid_value|TABLE=ID", "sql", "select 1", "--snapshot", "x"),
    )


def test_a_reader_that_leaves_early_is_no_error(terminal: Terminal, shop: Path) -> None:
    many = "sill -p shop sql 'select * from range(1000)' --json | head -1"
    ended = subprocess.run(["sh", "-c", many], capture_output=True, text=True, env=terminal.environment, timeout=60)

    assert (ended.stdout, ended.stderr) == ("[\n", "")


def test_what_was_quarantined_is_shown_with_its_reason(terminal: Terminal, shop: Path) -> None:
    shown = terminal.done("-p", "shop", "quarantine", "customers")

    assert "c7" in shown
    assert "age is not within 0 to 120" in shown
    assert terminal.json("-p", "shop", "quarantine", "customers")[0]["age"] == "500"


def test_a_table_returns_to_a_former_state(terminal: Terminal, shop: Path) -> None:
    first = terminal.json("-p", "shop", "snapshots", "customers")[0]["id"]
    shown = terminal.done("-p", "shop", "rollback", "customers", str(first))

    assert f"is at snapshot {first} with 119 rows" in shown
    assert str(first) in terminal.done("-p", "shop", "snapshots", "customers")
    terminal.refused(
        ("not_found|no snapshot 5", "-p", "shop", "rollback", "customers", "5"),
        ("not_found|no table 'nope'", "-p", "shop", "quarantine", "nope"),
        ("not_found|no ingestion 'nope'", "-p", "shop", "ingest", "nope"),
        ("invalid_value|'..' is not a name", "-p", "shop", "snapshots", "../.."),
        ("invalid_value|'a?b' is not a name", "-p", "shop", "snapshots", "a?b"),
    )


def test_ingestions_are_listed(terminal: Terminal, shop: Path) -> None:
    assert terminal.json("-p", "shop", "ingest")[0]["table"] == "customers"
    assert "upload://" in terminal.done("-p", "shop", "ingest")
