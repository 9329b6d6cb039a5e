"""CSV: delimiters, encodings, decimal commas, ragged rows, quotes, limits."""

from collections.abc import Callable
from typing import Any

import pytest

from sill.core.errors import InvalidValue, TooLarge
from sill.sources.limits import ReadLimits

Read = Callable[..., Any]


def rows(unified: Any) -> list[dict[str, Any]]:
    table = unified.table.drop_columns(["_source", "_source_row"])
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_every_row_says_where_it_came_from(read: Read) -> None:
    table = read("a,b\n1,x\n2,y\n", "my data.csv").table
    assert table.column("_source").to_pylist() == ["my data.csv"] * 2
    assert table.column("_source_row").to_pylist() == [1, 2]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(read: Read, separator: str) -> None:
    text = f"name{separator}age\nAda{separator}36\nBob{separator}40\n"
    assert rows(read(text)) == [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 40}]


def test_decimal_commas_are_found_beside_semicolons(read: Read) -> None:
    found = read("id;radius\n1;17,99\n2;1.020,5\n")
    assert rows(found) == [{"id": 1, "radius": 17.99}, {"id": 2, "radius": 1020.5}]
    assert any("decimal commas" in note for note in found.notes)


def test_grouped_thousands_are_no_decimal_commas(read: Read) -> None:
    assert [row["price"] for row in rows(read('id,price\n1,"1,234.50"\n2,"12"\n'))] == [1234.5, 12.0]


def test_one_comma_column_settles_the_ambiguous_one(read: Read) -> None:
    assert rows(read("a;b\n1,5;1,234\n")) == [{"a": 1.5, "b": 1.234}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"])
def test_the_encoding_is_found(read: Read, encoding: str) -> None:
    assert rows(read("name;city\nJürgen;Zürich\n".encode(encoding))) == [{"name": "Jürgen", "city": "Zürich"}]


def test_a_fallback_encoding_is_named(read: Read) -> None:
    assert any("cp1252" in note for note in read("a\nMünchen\n".encode("cp1252")).notes)
    assert any("latin-1" in note for note in read(b"a\nM\xfc\x81\n").notes)


def test_a_given_encoding_that_does_not_fit_is_refused_by_byte(read: Read) -> None:
    with pytest.raises(InvalidValue, match=r"byte 2 are not valid in utf-8"):
        read(b"a\n\xff\n", encoding="utf-8")


def test_a_ragged_row_is_named_by_its_line(read: Read) -> None:
    with pytest.raises(InvalidValue, match=r"data.csv line 5: 3 cells where the header has 2") as caught:
        read('a,b\n1,"two\nlines"\n3,4\n5,6,7\n')
    assert caught.value.details["line"] == 5


def test_a_short_row_is_refused_too(read: Read) -> None:
    with pytest.raises(InvalidValue, match="line 3: 1 cells"):
        read("a,b\n1,2\n3\n")


def test_an_open_quote_is_named(read: Read) -> None:
    with pytest.raises(InvalidValue, match=r"data.csv line 2"):
        read('a,b\n1,"x\n2,3\n')


def test_quoted_newlines_stay_in_the_cell(read: Read) -> None:
    assert rows(read('a,b\n1,"x\ny"\n'))[0]["b"] == "x\ny"


def test_listed_spellings_of_nothing_are_missing(read: Read) -> None:
    assert [row["a"] for row in rows(read("a,b\nNA,1\n?,1\n,1\n7,1\n"))] == [None, None, None, 7]


def test_a_hundred_thousand_columns_are_refused_by_a_named_limit(read: Read) -> None:
    text = ",".join(f"c{at}" for at in range(100_000)) + "\n" + ",".join("1" for _ in range(100_000)) + "\n"
    with pytest.raises(TooLarge, match="columns_max"):
        read(text)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (ReadLimits(rows_max=2), "rows_max"),
        (ReadLimits(cell_bytes_max=10), "cell_bytes_max"),
        (ReadLimits(table_bytes_max=20), "table_bytes_max"),
        (ReadLimits(header_bytes_max=1), "header_bytes_max"),
    ],
)
def test_each_limit_is_named(read: Read, limits: ReadLimits, named: str) -> None:
    with pytest.raises(TooLarge, match=named):
        read("aa,bb\n1,abcdefghijklmno\n2,x\n3,y\n", limits=limits)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_refused(read: Read, content: bytes) -> None:
    with pytest.raises(InvalidValue, match="header"):
        read(content)


def test_a_header_alone_gives_no_rows(read: Read) -> None:
    assert read("a,b\n").table.num_rows == 0


def test_empty_rows_and_nameless_empty_columns_are_left_out(read: Read) -> None:
    found = read("a,b,\n1,2,\n,,\n3,4,\n")
    assert rows(found) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert found.table.column("_source_row").to_pylist() == [1, 3]
