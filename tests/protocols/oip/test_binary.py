"""The binary extension: what goes in comes out bit for bit, and every lie about a length is refused."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sill.core.errors import InvalidValue, SillError, UnsupportedType
from sill.protocols.oip.binary import write_binary
from sill.protocols.oip.classes import classify
from sill.protocols.oip.codec import Wanted, read_request, write_response
from sill.protocols.oip.forms import AnswerForm, form_of
from sill.protocols.oip.tensors import write_tensor
from sill.runtimes.dtypes import LITTLE, widened

NUMBERS = [name for name in LITTLE if name != "BF16"]


def wire(datatype: str, shape: tuple[int, ...], content: bytes, size: Any = None, **more: Any) -> tuple[bytes, int]:
    """A binary request's body and how much of it is JSON."""
    parameters = {"binary_data_size": len(content) if size is None else size}
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters}
    header = json.dumps({"inputs": [tensor], **more}).encode()
    return header + content, len(header)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(NUMBERS))
def test_numbers_come_through_bit_for_bit_whatever_their_shape(data: st.DataObject, datatype: str) -> None:
    shapes = npst.array_shapes(max_dims=5, min_side=0, max_side=4)
    array = data.draw(npst.arrays(LITTLE[datatype], data.draw(shapes)))

    back = read_request(*wire(datatype, array.shape, array.tobytes())).tensors["x"]

    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=8))
def test_texts_come_through_whatever_they_hold(texts: list[str]) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts

    back = read_request(*wire("BYTES", array.shape, write_binary(array))).tensors["x"]

    assert back.tolist() == texts


def test_bfloat16_is_held_exactly() -> None:
    numbers = np.array([1.5, -2.0, 2.0**127, 0.0], np.float32)
    halves = (numbers.view(np.uint32) >> 16).astype("<u2")

    back = read_request(*wire("BF16", (4,), halves.tobytes())).tensors["x"]

    assert np.array_equal(back.view(np.uint16), halves)
    assert np.array_equal(widened(back), numbers)
    assert write_binary(back) == halves.tobytes()
    assert write_tensor("y", back).data == numbers.tolist()


def test_bytes_that_are_no_text_come_through_and_have_no_json() -> None:  # B56
    sent = b"\2\0\0\0\xff\0\1\0\0\0a"

    back = read_request(*wire("BYTES", (2,), sent)).tensors["x"]

    assert back.tolist() == [b"\xff\0", "a"]
    assert write_binary(back) == sent
    with pytest.raises(UnsupportedType, match="binary_data"):
        write_tensor("y", back)


@pytest.mark.parametrize(
    ("datatype", "shape", "content", "size"),
    [
        ("FP32", (2,), b"\0" * 7, None),
        ("FP32", (2,), b"\0" * 8, 7),
        ("FP32", (2,), b"\0" * 8, 9),
        ("FP32", (2,), b"\0" * 8, -1),
        ("FP32", (2,), b"\0" * 8, "8"),
        ("FP32", (2,), b"\0" * 8, True),
        ("FP32", (2**4, 2**60 + 2), b"\0" * 8, None),
        ("FP32", (2, -5), b"\0" * 8, None),
        ("BOOL", (2,), b"\1\2", None),
        ("BYTES", (1,), b"\xff\xff\xff\xff", None),
        ("BYTES", (2,), b"\1\0\0\0a", None),
        ("BYTES", (1,), b"\1\0\0\0ab", None),
        ("BYTES", (1,), b"\1\0", None),
        ("FP128", (1,), b"\0" * 16, None),
    ],
)
def test_a_lie_about_bytes_is_refused(
    datatype: str, shape: tuple[int, ...], content: bytes, size: Any
) -> None:  # B51, B56
    with pytest.raises(SillError) as refused:
        read_request(*wire(datatype, shape, content, size))

    assert 400 <= refused.value.status < 500


@pytest.mark.parametrize("header_bytes", [0, 3, 10_000])
def test_a_lie_about_the_json_part_is_refused(header_bytes: int) -> None:
    body, _ = wire("FP32", (1,), b"\0" * 4)

    with pytest.raises(InvalidValue):
        read_request(body, header_bytes)


def test_the_likeliest_classes_come_first_with_their_place() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], np.float32)

    assert classify("y", scores, 2).tolist() == [["0.700000:1", "0.200000:2"], ["0.500000:0", "0.500000:1"]]
    with pytest.raises(InvalidValue):
        classify("y", scores[0], 2)


OUTPUTS = {
    "label": np.array(["a", "b", "c"], dtype=object),
    "scores": np.arange(6, dtype=np.float32).reshape(3, 2),
    "deep": np.arange(12, dtype=np.int64).reshape(3, 2, 2),
}


@pytest.mark.parametrize("is_binary", [False, True])
@pytest.mark.parametrize("named", [(), ("scores",), ("deep", "label")])
@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 3), (2, 2)])
def test_an_answer_written_from_its_form_is_the_one_written_whole(
    is_binary: bool, named: tuple[str, ...], start: int, end: int
) -> None:
    more = {"parameters": {"binary_data_output": is_binary}, "outputs": [{"name": name} for name in named]}
    body, header_bytes = wire("FP32", (1,), b"\0" * 4, **more)
    request = read_request(body, header_bytes)
    part = {name: array[start:end] for name, array in OUTPUTS.items()}
    form = AnswerForm("m", 7, {"revision": 2}, request, OUTPUTS, rows=end - start)

    whole = write_response("m", 7, "req-1", {"revision": 2}, part, request.wanted(part))

    assert form.over(OUTPUTS, {})(b"req-1", start) == whole


def test_a_binary_body_of_a_known_form_is_read_without_its_json() -> None:
    body, header_bytes = wire("FP32", (1, 2), np.array([1, 2], np.float32).tobytes())
    form = form_of(read_request(body, header_bytes), body, header_bytes)
    assert form is not None

    read = form.read(body[:header_bytes] + np.array([3, 4], np.float32).tobytes())
    assert read is not None
    assert np.frombuffer(read, np.float32).tolist() == [3.0, 4.0]
    assert form.read(body[:header_bytes] + b"\0" * 7) is None
    assert form.read(body.replace(b"FP32", b"INT8")) is None


def test_wanted_outputs_are_told_in_the_order_they_were_named() -> None:
    body, _ = write_response("m", 1, "req-1", {}, OUTPUTS, (Wanted(name="scores"), Wanted(name="label")))

    assert [one["name"] for one in json.loads(body)["outputs"]] == ["scores", "label"]
