"""A request that is read in a process of its own is the same request, and is refused in the same words."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

from sill.api import long_reading
from sill.api.long_reading import READS, Readers, Wish
from sill.core.errors import Limited, SillError, Unavailable
from sill.protocols.oip import grpc_requests
from sill.protocols.oip.grpc_answers import write_parameters
from sill.protocols.oip.long import LONG_BYTES, LONG_TEXT_BYTES, MARKS_MAX, is_long
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.serving_models import SIGNATURE

pytestmark = pytest.mark.anyio
PARAMETERS = {"priority": 2, "timeout": 5_000, "entity": {"id": "8"}, "large": 2**64 - 1}
OUTPUTS = [{"name": "o", "parameters": {"binary_data": True}}]


def plain(*inputs: dict[str, Any]) -> tuple[Wish, bytes]:
    return Wish(kind="infer"), msgspec.json.encode(
        {"id": "r-1", "inputs": inputs, "outputs": OUTPUTS, "parameters": PARAMETERS}
    )


def given(datatype: str, data: Any, shape: tuple[int, ...] = (3,)) -> dict[str, Any]:
    return {"name": f"x{datatype}", "datatype": datatype, "shape": shape, "data": data}


def binary(content: bytes, datatype: str, shape: tuple[int, ...]) -> tuple[Wish, bytes]:
    said = {"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(content)}}
    head = msgspec.json.encode({"inputs": [said]})
    return Wish(kind="infer", header_bytes=len(head)), head + content


def message(content: bytes, datatype: str = "FP32") -> tuple[Wish, bytes]:
    tensor = write_text(1, "x") + write_text(2, datatype) + write_numbers(3, (3,))
    parameters = write_parameters(4, {"nan": float("nan"), "priority": 1})
    return Wish(kind="grpc"), write_text(1, "churn") + parameters + write_bytes(5, tensor) + write_bytes(7, content)


GOOD = {
    "every datatype": plain(
        *(given(kind, [1, 0, 1]) for kind in ("INT8", "INT64", "UINT64", "FP32", "FP64")),
        given("BOOL", [True, False, True]),
        given("BYTES", ["ä", "", "c"]),
    ),
    "bytes that are no text": binary(b"\1\0\0\0\xff\0\0\0\0", "BYTES", (2,)),
    "halves": binary(b"\0\x3f\0\x40", "BF16", (2,)),
    "nothing": binary(b"", "FP32", (0, 3)),
    "a message": message(np.arange(3, dtype=np.float32).tobytes()),
    "scoring": (Wish(kind="scoring", signature=SIGNATURE), b'{"dataframe_records": [{"a": 1, "b": 2, "c": 3}]}'),
    "generate": (Wish(kind="generate", signature=SIGNATURE), b'{"id": "g", "input": [1, 2, 3]}'),
}
BAD = {
    "a value outside": plain(given("INT8", [1, 300, 1])),
    "not a number": (Wish(kind="infer"), b'{"inputs": [NaN]}'),
    "too few": binary(b"\0", "FP32", (3,)),
    "another type": message(b"\0", "FP33"),
    "no form": (Wish(kind="scoring", signature=SIGNATURE), b"{}"),
    "no input": (Wish(kind="generate", signature=SIGNATURE), b'{"x": 1}'),
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def readers() -> AsyncIterator[Readers]:
    found = Readers()
    yield found
    found.close()


def tensors_of(request: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(request, "request", request).tensors
    return found


def rest_of(request: Any) -> str:
    """All but the tensors and the inputs' own data, which are in them."""
    inner = getattr(request, "request", request)
    shown = {name: getattr(inner, name) for name in inner.__struct_fields__ if name not in ("tensors", "inputs")}
    inputs = [(one.name, one.shape, one.datatype, one.parameters) for one in getattr(inner, "inputs", ())]
    names = [getattr(request, name) for name in ("model_name", "model_version") if hasattr(request, name)]
    return str((shown, inputs, names, bool(getattr(request, "raw", ()))))


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_read_elsewhere_is_what_would_be_read_here(name: str, readers: Readers) -> None:
    wish, body = GOOD[name]
    here, there = READS[wish.kind][1](wish, body), await readers.read(wish, body)

    assert type(there) is type(here)
    assert rest_of(there) == rest_of(here)
    assert tensors_of(there).keys() == tensors_of(here).keys()
    for name, array in tensors_of(here).items():
        assert tensors_of(there)[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors_of(there)[name], array)


@pytest.mark.parametrize("name", BAD)
async def test_what_is_refused_elsewhere_is_refused_in_the_same_words(name: str, readers: Readers) -> None:
    wish, body = BAD[name]
    with pytest.raises(SillError) as here:
        READS[wish.kind][1](wish, body)
    with pytest.raises(SillError) as there:
        await readers.read(wish, body)

    assert (there.value.code, str(there.value), there.value.fix) == (here.value.code, str(here.value), here.value.fix)


def workers() -> set[psutil.Process]:
    """Of the warm parents that this process started. Its other children are whole platforms that further tests need."""
    parents = [one for one in psutil.Process().children() if any("warm_parent" in word for word in one.cmdline())]
    return {worker for parent in parents for worker in parent.children()}


async def test_a_reader_that_died_is_started_again() -> None:
    wish, body = GOOD["scoring"]
    others = workers()
    with contextlib.closing(Readers()) as readers:
        await readers.read(wish, body)
        (reader,) = workers() - others
        reader.kill()

        assert (await readers.read(wish, body)).is_table
        assert reader not in workers()


async def test_who_comes_when_too_many_wait_is_refused_and_who_has_no_time_is_told_so(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish, body = GOOD["scoring"]
    with pytest.raises(Unavailable, match="deadline"):
        await asyncio.gather(readers.read(wish, body), readers.read(wish, body, timeout_ms=0.001))

    monkeypatch.setattr(long_reading, "WAITING_MAX", 1)
    answers = await asyncio.gather(*(readers.read(wish, body) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in answers[1:]] == [Limited, Limited]


@pytest.mark.parametrize(
    ("body", "header_bytes", "is_it"),
    [
        (b"1" * LONG_BYTES, None, False),
        (b"1" * (LONG_BYTES + 1), None, True),
        (b'"' * (MARKS_MAX + 1), None, True),
        (b"{}" + b'"' * 100_000, 2, False),
        (b'"BYTES"' + b"x" * LONG_TEXT_BYTES, 7, False),
        (b'"BYTES"' + b"x" * (LONG_TEXT_BYTES + 1), 7, True),
        (rb'"BYTE\u0053"' + b"x" * (LONG_TEXT_BYTES + 1), 12, True),
        (b"{}", 99_999, False),
    ],
)
def test_long_is_what_takes_long_to_read(body: bytes, header_bytes: int | None, is_it: bool) -> None:
    assert is_long(body, header_bytes) == is_it


def test_a_message_is_long_by_its_texts_and_typed_numbers_not_by_raw_ones() -> None:
    many = bytes(LONG_TEXT_BYTES + 1)
    typed = write_bytes(5, write_text(1, "x") + write_text(2, "INT8") + write_bytes(5, write_bytes(2, many)))

    assert not grpc_requests.is_long(message(many)[1])
    assert grpc_requests.is_long(message(many, "BYTES")[1])
    assert grpc_requests.is_long(typed)
