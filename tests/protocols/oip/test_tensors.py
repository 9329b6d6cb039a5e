"""What goes in comes out, and every lie about a shape is refused before it costs memory."""

import contextlib
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue, SillError, TooLarge, UnsupportedType
from sill.protocols.oip.codec import read_request
from sill.protocols.oip.tensors import FLOATS, INTEGERS, read_tensor, write_tensor
from sill.protocols.oip.types import RequestInput


def tensor(datatype: str, shape: list[int], data: Any) -> RequestInput:
    raw = msgspec.Raw(json.dumps(data).encode())
    return RequestInput(name="x", shape=tuple(shape), datatype=datatype, data=raw)


def body(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **more}).encode()


def given_input(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0], **changes}


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    shape = draw(SHAPES)
    datatype = draw(st.sampled_from(["BOOL", *INTEGERS, *FLOATS, "BYTES"]))
    count = int(np.prod(shape))
    if datatype == "BYTES":
        text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
        values = np.empty(count, dtype=object)
        values[:] = draw(st.lists(text, min_size=count, max_size=count))
        return values.reshape(shape)
    if datatype == "BOOL":
        return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count))).reshape(shape)
    if datatype in FLOATS:
        width = 32 if datatype == "FP32" else 64
        number = st.floats(allow_nan=False, allow_infinity=False, width=width)
        return np.array(draw(st.lists(number, min_size=count, max_size=count)), dtype=FLOATS[datatype]).reshape(shape)
    bounds = np.iinfo(INTEGERS[datatype])
    number = st.integers(int(bounds.min), min(int(bounds.max), 2**63 - 1))
    return np.array(draw(st.lists(number, min_size=count, max_size=count)), dtype=INTEGERS[datatype]).reshape(shape)


@settings(max_examples=150, deadline=None)
@given(arrays(), st.booleans())
def test_a_written_tensor_reads_back_bit_for_bit_flat_or_nested(array: np.ndarray[Any, Any], is_nested: bool) -> None:
    written = write_tensor("x", array)
    data = array.tolist() if is_nested else written.data
    wire = body({"name": "x", "datatype": written.datatype, "shape": written.shape, "data": data})

    back = read_request(wire).tensors["x"]

    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert np.array_equal(back, array)


@pytest.mark.parametrize(
    "shape",
    [[2**4, 2**60 + 2], [2, -5], [0], [], [1] * 9, [3], [1, 1, 1], [2**62, 2**62]],
    ids=str,
)
def test_a_shape_that_is_not_the_datas_is_refused(shape: list[int]) -> None:  # B51, B59
    with pytest.raises(InvalidValue, match="x"):
        read_tensor(tensor("FP32", shape, [1.0, 2.0]))


def test_size_is_counted_after_widening() -> None:  # B52
    with pytest.raises(TooLarge, match="67108864"):
        read_tensor(tensor("FP64", [8_400_000], [0] * 8_400_000))


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("UINT8", [256, 0]),
        ("INT8", [-129, 0]),
        ("INT32", [1.5, 2]),
        ("FP32", [1e39, 0]),
        ("FP32", [None, 1]),
        ("FP32", ["1", "2"]),
        ("BOOL", [1, 0]),
        ("BYTES", [1, 2]),
        ("FP32", [[1.0], [2.0, 3.0]]),
        ("FP32", {"a": 1}),
        ("FP32", 1.0),
        ("FP32", [[[1.0]], [[2.0]]]),
    ],
    ids=str,
)
def test_a_value_outside_its_datatype_is_refused(datatype: str, data: Any) -> None:
    with pytest.raises(InvalidValue):
        read_tensor(tensor(datatype, [2, 1], data))


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP128", "float", ""])
def test_a_datatype_without_json_form_is_refused(datatype: str) -> None:
    with pytest.raises(UnsupportedType):
        read_tensor(tensor(datatype, [2], [1, 2]))


@pytest.mark.parametrize(
    "wire",
    [
        body(),
        body(given_input(), given_input()),
        body(given_input(name="")),
        body(given_input(name="a\nb")),
        body(given_input(), id="x" * 200),
        body(given_input(), outputs=[{"name": "y"}, {"name": "y"}]),
        body(given_input(), parameters={"entity": {"a": 1}}),
        body(given_input(), parameters={"entity": "8"}),
        body(given_input(), surprise=1),
        body(given_input(parameters={"binary_data_size": 8})),
        body(given_input(parameters={"shared_memory_region": "r"})),
        body(given_input(), outputs=[{"name": "y", "parameters": {"binary_data": "yes"}}]),
        body(given_input(), outputs=[{"name": "y", "parameters": {"classification": -1}}]),
        body(given_input(), parameters={"binary_data_output": 1}),
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1e999]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["a\\u0000b"]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES","data":["\\ud800"]}]}',
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}',
        b'{"inputs":[],"inputs":[]}',
        b"[" * 100_000,
        b"",
        b"\xff",
    ],
)
def test_a_malformed_request_is_a_4xx(wire: bytes) -> None:  # B01, B51, B53, B56, B60
    with pytest.raises(SillError) as refused:
        read_request(wire)

    assert 400 <= refused.value.status < 500


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps({"inputs": v}).encode())
)
def test_no_body_raises_anything_but_our_errors(wire: bytes) -> None:
    with contextlib.suppress(InvalidValue, TooLarge, UnsupportedType):
        read_request(wire)


def test_an_entity_is_kept_and_a_declined_extension_is_no_extension() -> None:
    wire = body(given_input(parameters={"binary_data": False}), parameters={"entity": {"customer_id": "8"}}, id="42")

    request = read_request(wire)

    assert (request.id, request.entity) == ("42", {"customer_id": "8"})
