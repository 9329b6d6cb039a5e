"""One grammar for all names; refusals name the field."""

import pytest

from sill.core.addresses import parse_address
from sill.core.errors import InvalidValue
from sill.core.names import check_column, check_id, check_name


@pytest.mark.parametrize("name", ["a", "churn", "eu-west.1", "a_b-c.d", "0x", "a" * 100])
def test_allowed_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "a..b",
        "A",
        "a/b",
        "a\\b",
        "a b",
        "-a",
        "a-",
        "a.",
        "ä",
        "раурal",
        "a\u202eb",
        "a\x00",
        "a\n",
        "a" * 101,
        "%2e%2e",
    ],
)
def test_everything_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_name(name, "table")

    assert refused.value.field == "table"


@pytest.mark.parametrize("column", ["", "1a", "a-b", "a b", "a;drop", "ü", "a" * 101])
def test_column_names_are_plain(column: str) -> None:
    with pytest.raises(InvalidValue):
        check_column(column)


@pytest.mark.parametrize("value", ["", "run", "run-", "run-../x", "RUN-12345678", "run-1234567", "run-%2e%2e%2f0000"])
def test_ids_have_one_form(value: str) -> None:
    with pytest.raises(InvalidValue):
        check_id(value)


@pytest.mark.parametrize("text", ["sill://churn/models/churn/3", "sill://churn/tables/customers"])
def test_an_address_is_read_and_written_the_same(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sill://",
        "http://a/models/b",
        "sill://a/b/c",
        "sill://a/models",
        "sill://a/models/b/3/4",
        "sill:///models/b",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_address(text)
