"""SECURITY B51 to B64 over HTTP with binary tensors and over gRPC with raw contents: the same rules, the same answers."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np
import pytest

from sill.protocols import protobuf
from sill.protocols.oip.grpc_answers import write_parameters
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.grpc_client import INFER, GrpcLine
from sill.testing.identity_models import identity
from sill.testing.serving_models import SIGNATURE, TOKEN, classifier, make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import OTHER, Zoo

NAN, INFINITE, LEAST = float("nan"), float("inf"), 1e-45
WORDS = {
    200: "answered",
    400: "invalid",
    404: "absent",
    415: "invalid",
    422: "not finite",
    0: "answered",
    3: "invalid",
    5: "absent",
    9: "not finite",
    12: "invalid",
}
"""What a status of HTTP or gRPC says."""


class Tensor(NamedTuple):
    """An input as it goes over the wire."""

    content: bytes
    shape: tuple[int, ...]
    datatype: str = "FP32"
    name: str = "input"


class Told(NamedTuple):
    """What came back: a word for the status, and the outputs' bytes."""

    word: str
    outputs: tuple[bytes, ...] = ()


Ask = Callable[..., Told]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    """Two tenants with an endpoint `churn` each, whose models say the opposite; identities of two datatypes and of texts."""
    folder: Path = tmp_path_factory.mktemp("doors")
    zoo = Zoo(make_signer(folder))
    zoo.add("churn", classifier(), SIGNATURE)
    zoo.add("churn", classifier((-1.0, -1.0, -1.0)), SIGNATURE, project="shop")
    zoo.add("floats", *identity("FP32", (-1, 2)))
    zoo.add("ints", *identity("INT32", (-1, 2)))
    zoo.add("texts", *identity("BYTES", (-1,)))
    with serving(folder, zoo.plan(), zoo.bundles, InferenceUnderTest) as found:
        yield found


@pytest.fixture(params=["http", "grpc"])
def ask(request: pytest.FixtureRequest, plane: InferenceUnderTest) -> Iterator[Ask]:
    """Asks a model over one of the doors; over gRPC on one connection, so that the short way is taken."""
    if request.param == "http":
        yield lambda *tensors, **more: over_http(plane.http, *tensors, **more)
        return
    with GrpcLine(plane.port + 1) as line:
        yield lambda *tensors, **more: over_grpc(line, *tensors, **more)


def over_http(http: httpx.Client, *tensors: Tensor, model: str = "churn", token: str = TOKEN, **more: Any) -> Told:
    inputs = [
        {"name": one.name, "shape": one.shape, "datatype": one.datatype, "parameters": {"binary_data_size": len(one.content)}}
        for one in tensors
    ]  # fmt: skip
    head = msgspec.json.encode(
        {"inputs": inputs, "parameters": {"binary_data_output": True} | more.get("parameters", {})}
    )
    headers = {"Inference-Header-Content-Length": str(len(head)), "Authorization": f"Bearer {token}"} | {
        name: value for name, value in (("X-Sill-Project", more.get("project")),) if value
    }
    body = head + b"".join(one.content for one in tensors)
    told = http.post(f"/v2/models/{model}/infer", content=body, headers=headers)
    if told.status_code != 200:
        return Told(WORDS[told.status_code])
    size = int(told.headers["Inference-Header-Content-Length"])
    lengths = [one["parameters"]["binary_data_size"] for one in msgspec.json.decode(told.content[:size])["outputs"]]
    starts = [size + sum(lengths[:place]) for place in range(len(lengths))]
    return Told("answered", tuple(told.content[at : at + length] for at, length in zip(starts, lengths, strict=True)))


def over_grpc(line: GrpcLine, *tensors: Tensor, model: str = "churn", token: str = TOKEN, **more: Any) -> Told:
    content = write_text(1, model) + write_parameters(4, more.get("parameters", {}))
    for one in tensors:
        content += write_bytes(5, write_text(1, one.name) + write_text(2, one.datatype) + write_numbers(3, one.shape))
    content += b"".join(write_bytes(7, one.content) for one in tensors)
    metadata = [(b"x-sill-project", more["project"].encode())] if more.get("project") else []
    status, messages = line.ask(content, INFER, *metadata, token=token)
    raw = [bytes(one.content) for told in messages for one in protobuf.fields(memoryview(told)) if one.number == 6]
    return Told(WORDS[status], tuple(raw))


def row(*values: float) -> Tensor:
    return Tensor(struct.pack(f"<{len(values)}f", *values), (1, len(values)))


@pytest.mark.parametrize("shape", [(2**4, 2**60 + 2), (2, -5), (1, 2), (2**31, 3), (0, 3), (1,) * 9, ()])
def test_a_shape_that_is_not_the_contents_is_refused(shape: tuple[int, ...], ask: Ask) -> None:
    """B51, B59."""
    assert ask(row(1, 2, 3)._replace(shape=shape)).word == "invalid"


def test_an_input_given_twice_is_refused(ask: Ask) -> None:
    """B51."""
    assert ask(row(1, 2, 3), row(1, 2, 3)).word == "invalid"


@pytest.mark.parametrize("name", ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"])
def test_shared_memory_is_refused_by_name(name: str, ask: Ask) -> None:
    """B53."""
    assert ask(row(1, 2, 3), parameters={name: 1}).word == "invalid"


@pytest.mark.parametrize(
    "content", [b"\xff\0\0\0a", b"\2\0\0\0a", b"\1\0\0\0ab", b"\0", b"\xff\xff\xff\xff", b"\1\0\0\0\xff"]
)
def test_a_text_that_is_not_as_long_as_it_says_or_no_text_is_refused(content: bytes, ask: Ask) -> None:
    """B56."""
    assert ask(Tensor(content, (1,), "BYTES", "INPUT0"), model="texts").word == "invalid"


@pytest.mark.parametrize("text", [b"", b"nul\0in", "ä€😀".encode(), b"x" * 100_000])
def test_a_text_comes_back_byte_by_byte(text: bytes, ask: Ask) -> None:
    """B56."""
    content = len(text).to_bytes(4, "little") + text

    assert ask(Tensor(content, (1,), "BYTES", "INPUT0"), model="texts") == ("answered", (content,))


@pytest.mark.parametrize("datatype", ["FP33", "SPARSE_COO", "", "fp32", "TYPE_FP32"])
def test_only_dense_tensors_of_a_known_type_are_taken(datatype: str, ask: Ask) -> None:
    """B58."""
    assert ask(row(1, 2, 3)._replace(datatype=datatype)).word == "invalid"


@pytest.mark.parametrize("content", [bytes(11), bytes(13), b"", struct.pack(">3f", 1, 2, 3)[:-1], b"(0,1)=2 (0,2)"])
def test_only_as_many_bytes_as_the_shape_says_are_taken(content: bytes, ask: Ask) -> None:
    """B58."""
    assert ask(Tensor(content, (1, 3))).word == "invalid"


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
def test_an_answer_that_is_not_finite_is_refused_and_the_row_is_told_of(
    value: float, ask: Ask, plane: InferenceUnderTest
) -> None:
    """B60: what is asked may be anything; an answer that is no number is not given, and the log goes on."""
    assert ask(row(value, 1)._replace(name="INPUT0"), model="floats").word == "not finite"
    assert ask(row(1, 2, 3)).word == "answered"
    plane.until(lambda: any(one.status == 422 for one in plane.control.logged()))


def test_numbers_below_the_normal_ones_come_back_as_they_are(ask: Ask) -> None:
    """B60."""
    tensor = row(LEAST, -LEAST)._replace(name="INPUT0")

    assert ask(tensor, model="floats").outputs == (tensor.content,)


@pytest.mark.parametrize("model", ["..", " ", "a b", "churn/../x", "x" * 300, "-1", "%2e%2e"])
def test_a_name_that_cannot_be_is_refused(model: str, ask: Ask) -> None:
    """B62."""
    assert ask(row(1, 2, 3), model=model).word in ("invalid", "absent")


def test_equal_requests_of_two_tenants_are_answered_by_their_own_models(ask: Ask) -> None:
    """B64: the short way remembers forms of requests; what it remembers is one tenant's."""
    told = [
        ask(row(1, 2, 3), token=token, project=project).outputs[0][4:]
        for _ in range(4)
        for token, project in ((TOKEN, "default"), (OTHER, "shop"), (TOKEN, "shop"))
    ]

    assert told == [b"yes", b"no", b"no"] * 4
    assert ask(row(1, 2, 3), token=OTHER, project="default").word == "absent"


def test_equal_bytes_of_two_datatypes_are_two_questions(ask: Ask) -> None:
    """B64."""
    whole, real = np.array([[7, -7]], dtype=np.int32), np.array([[7, -7]], dtype=np.float32)
    for _ in range(3):
        as_ints = ask(Tensor(real.tobytes(), (1, 2), "INT32", "INPUT0"), model="ints")
        as_floats = ask(Tensor(real.tobytes(), (1, 2), "FP32", "INPUT0"), model="ints")
        assert as_ints.outputs == (real.tobytes(),)
        assert as_floats.outputs == (whole.tobytes(),)
