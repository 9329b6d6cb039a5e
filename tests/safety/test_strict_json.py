"""JSON that others wrote: what is ambiguous or too much is refused."""

import json
import time
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.safety.strict_json import LONG_BYTES, decode, decode_any


class Point(msgspec.Struct, forbid_unknown_fields=True):
    x: float
    tags: list[str] = []


class Loose(msgspec.Struct):
    x: float


class Crowd(msgspec.Struct):
    points: list[Point]
    named: dict[str, int] = {}
    rest: Any = None


class Flat(msgspec.Struct):
    points: list[Point]
    named: dict[str, int] = {}


MANY = [Point(x=float(number), tags=["a"]) for number in range(LONG_BYTES // 16)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf1",
        '{"a": 1}'.encode("utf-16"),
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"-1e400",
        b'{"a": 1, "a": 2}',
        b'[{"b": {"a": 1, "c": 0, "a": 1}}]',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": [{"x": 1}, {"y": 2}], "a": 1}',
        b"9223372036854775808",
        b" 9223372036854775808",
        b"[1,9223372036854775808]",
        b"[9223372036854775808]",
        b'{"a":9223372036854775808}',
        b"[1,-9223372036854775809]",
        b"-9223372036854775809",
        b'{"a": 151115727451828646838272}',
        b"1" * 5_000,
        b'"\\u0000"',
        b'"a\x00b"',
        b'{"a\\u0000": 1}',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\udfff": 1}',
        b"[1,]",
        b"{'a': 1}",
        b"[1] 2",
        b'{"a": 1',
        b'"a\nb"',
        b"]",
        b'"unfinished',
        b'"a":1',
        b"01",
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"// comment\n1",
    ],
)
def test_body_that_is_not_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        decode_any(body)


@pytest.mark.parametrize(
    "body",
    [
        b"9223372036854775807",
        b"-9223372036854775808",
        b"0.12345678901234567890123",
        b'{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}',
        b'"\\u00e4\\ud83d\\ude00 9999999999999999999999"',
        b"[" * 64 + b"]" * 64,
        b'{"\\\\": 1, "\\"": 2, "a:": "b\\":", "{": "["}',
        b'{"a" : 1 , "b"\n:\t2}',
        b'"\\\\u0000"',
    ],
)
def test_strict_json_is_read_as_json_reads_it(body: bytes) -> None:
    assert decode_any(body) == json.loads(body)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 3_000_000])
def test_deep_nesting_is_refused_at_once(body: bytes) -> None:
    started = time.process_time()
    with pytest.raises(InvalidValue, match="64 levels"):
        decode_any(body)
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"x": "a"}', "x"),
        (b'{"x": 1, "tags": ["a", 2]}', "tags.1"),
        (b'{"tags": []}', "x"),
        (b'{"x": 1, "is_admin": true}', "is_admin"),
        (b'{"x": 1, "x": 1}', "x"),
    ],
)
def test_error_names_the_field(body: bytes, field: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        decode(body, Point)
    assert caught.value.field == field


def test_unknown_field_is_refused_even_if_the_struct_forgot_to() -> None:
    with pytest.raises(InvalidValue) as caught:
        decode(b'{"x": 1, "tenant": "other"}', Loose)
    assert caught.value.field == "tenant"


def test_good_body_becomes_the_struct() -> None:
    assert decode(b'{"x": 1.5, "tags": ["a"]}', Point) == Point(1.5, ["a"])


def test_large_body_is_read_without_a_list_of_all_its_brackets() -> None:
    body = b"[" + b"{}," * 400_000 + b"{}]"
    assert len(decode_any(body)) == 400_001


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(_VALUES, st.booleans())
def test_whatever_json_writes_is_read_back(value: Any, ascii_only: bool) -> None:
    assert decode_any(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]":,\\u0d8e19 ', max_size=60).map(str.encode))
def test_no_bytes_lead_to_another_error(body: bytes) -> None:
    with suppress(InvalidValue):
        decode_any(body)


@pytest.mark.parametrize("kind", [Flat, Crowd])
def test_a_long_body_is_read_as_a_short_one_is(kind: Any) -> None:
    body = msgspec.json.encode(kind(points=MANY))

    assert decode(body, kind) == kind(points=MANY)
    assert decode(body.replace(b",", b" ,\n"), kind) == kind(points=MANY)


@pytest.mark.parametrize("kind", [Flat, Crowd])
@pytest.mark.parametrize(
    "wrong",
    [
        b'"named":{"a":1,"a":1}',
        b'"named":{"a":1},"named":{"a":1}',
        b'"named":{"a\\u0000":1}',
        b'"named":{"a":1,"\\u0061":1}',
        b'"named":{"\\ud800":1}',
        b'"named":{"a":9223372036854775808}',
        b'"other":1',
    ],
)
def test_a_long_body_hides_nothing_a_short_one_could_not(kind: Any, wrong: bytes) -> None:
    body = msgspec.json.encode({"points": MANY})[:-1] + b"," + wrong + b"}"

    with pytest.raises(InvalidValue):
        decode(body, kind)


def test_a_long_body_is_no_deeper_than_a_short_one() -> None:
    body = msgspec.json.encode({"points": MANY, "named": {}})[:-1] + b',"rest":' + b"[" * 99 + b"]" * 99 + b"}"

    with pytest.raises(InvalidValue, match="levels deep"):
        decode(body, Crowd)


def test_a_long_fraction_is_no_long_integer() -> None:
    assert decode_any(b"[0.00012345678901234567890, 1e-00000000000000000001]") == [0.0001234567890123456789, 0.1]
