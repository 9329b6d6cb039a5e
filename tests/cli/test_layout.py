"""How tables are laid out, without a process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sill.cli.layout import Whole, amount, lay_out, plain

ID = "run-01m7yfn6q1t4117aey1j"
WORDS = st.text(alphabet="ab 漢\x1b\n", max_size=60)


def test_what_fits_is_set_in_columns_with_numbers_flush_right() -> None:
    assert lay_out(("name", "rows"), [("cells", 7), ("a", 1200)], 80) == ["name   rows", "cells     7", "a      1200"]


def test_without_a_terminal_a_row_is_a_line_of_any_length() -> None:
    _, row = lay_out(("id", "why"), [(ID, "word " * 100)], 0, has_prose=True)

    assert row == f"{ID}  {'word ' * 100}".rstrip()


def test_an_id_is_never_shortened_and_its_neighbours_give_way() -> None:
    _, row = lay_out((Whole("id"), "name"), [(ID, "a very long name " * 5)], 40)

    assert row.startswith(f"{ID}  a very long")
    assert row.endswith("…")
    assert len(row) == 40


def test_sentences_are_folded_beside_their_row_where_there_is_room() -> None:
    lines = lay_out(("state", "why"), [("failed", "it ran longer than its timeout of one second")], 40, has_prose=True)

    assert lines == ["state   why", "failed  it ran longer than its timeout", "        of one second"]


def test_sentences_stand_beneath_their_row_where_there_is_none() -> None:
    lines = lay_out((Whole("id"), "why"), [(ID, "it ran longer than its timeout")], 40, has_prose=True)

    assert lines == ["id", ID, "    it ran longer than its timeout"]


def test_columns_that_do_not_fit_are_named_as_left_out() -> None:
    names = [f"column_{at}" for at in range(30)]

    *_, last = lay_out(names, [tuple("x" * 20 for _ in names)], 60)

    assert "column_29" in last
    assert not last.startswith("column_0")


def test_control_characters_drive_no_terminal() -> None:
    assert plain("a\x1b[2Jb\nc\x9b") == "a␛[2Jb c␦"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.5, "0.5"), (1234.56, "1235"), (123456.7, "123,457"), (0.0000123, "0.0000123"), (1.5e-9, "1.5e-09")],
)
def test_numbers_need_no_exponent_where_people_would_write_none(value: float, shown: str) -> None:
    assert amount(value) == shown


@given(rows=st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), width=st.integers(45, 120))
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    for line in lay_out(("name", "state", "detail"), rows, width):
        assert cell_len(line) <= width
