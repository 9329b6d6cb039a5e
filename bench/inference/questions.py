"""One row's question in every wire form, and the numbers out of every form of answer."""

import http.client
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.inference.load_grpc import Grpc
from bench.inference.models import BenchModel

JSON, BINARY, GRPC = PROTOCOLS = ("json", "binary", "grpc")
HEADER_LENGTH = "Inference-Header-Content-Length"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT_S = 30.0
SAME_RELATIVE, SAME_ABSOLUTE = 1e-4, 1e-5


@dataclass(frozen=True)
class Question:
    """Bytes that ask one row, and where they go."""

    protocol: str
    port: int
    path: str
    headers: dict[str, str]
    body: bytes


def question(protocol: str, model: BenchModel, port: int, path: str, name: str, headers: dict[str, str]) -> Question:
    """The row as the Open Inference Protocol has it.

    Args:
        path: of HTTP; gRPC has its own.
        name: what the server calls the model.
    """
    row = model.rows(1)
    tensor = {"name": "input", "shape": list(row.shape), "datatype": model.datatype}
    if protocol == GRPC:
        return Question(protocol, port, METHOD, headers, grpc_message(name, model, row))
    if protocol == JSON:
        body = json.dumps({"inputs": [tensor | {"data": plain(row)}]}).encode()
        return Question(protocol, port, path, {"Content-Type": "application/json", **headers}, body)
    raw = row.tobytes()
    said = {"inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}]}
    head = json.dumps(said | {"parameters": {"binary_data_output": True}}).encode()
    own = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Question(protocol, port, path, own | headers, head + raw)


def mlflow_question(model: BenchModel, port: int) -> Question:
    """The row as MLflow's scoring server takes tensors."""
    row = model.rows(1)
    body = json.dumps({"inputs": {"input": nested(row)}}).encode()
    return Question(JSON, port, "/invocations", {"Content-Type": "application/json"}, body)


def ask_once(asked: Question) -> Any:
    """The numbers of one answer, flat.

    Raises:
        OSError, http.client.HTTPException: nobody answers.
        ValueError: the answer is an error, or not in a known form.
    """
    if asked.protocol == GRPC:
        return from_grpc(_ask_grpc(asked))
    connection = http.client.HTTPConnection("127.0.0.1", asked.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", asked.path, asked.body, asked.headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"{answer.status}: {last_line(body.decode(errors='replace'))}")
    length = answer.getheader(HEADER_LENGTH)
    if length is not None:
        return np.frombuffer(body[int(length) :], np.float32)
    return from_json(json.loads(body))


def last_line(text: str) -> str:
    """The last line that says anything: where a traceback ends, what went wrong."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "nothing")


def from_json(said: Any) -> Any:
    """The numbers of the protocol's JSON answer, or of MLflow's."""
    if "outputs" in said:
        return np.array(flat(said["outputs"][-1]["data"]), np.float32)
    found = said["predictions"]
    return np.array(flat(found["output"] if isinstance(found, dict) else found), np.float32)


def is_same(found: Any, expected: Any) -> bool:
    """Whether two answers are equal but for the order of sums in single precision."""
    return found.size == expected.size and np.allclose(found, expected.ravel(), SAME_RELATIVE, SAME_ABSOLUTE)


def plain(row: Any) -> list[Any]:
    """The numbers of a row, flat, with as few digits as tell them apart."""
    return [float(str(one)) if row.dtype.kind == "f" else int(one) for one in row.ravel()]


def nested(row: Any) -> Any:
    """The same, nested as the shape says."""
    return np.array(plain(row), dtype=object).reshape(row.shape).tolist()


def flat(values: Any) -> list[Any]:
    """Nested lists as one."""
    while values and isinstance(values[0], list):
        values = [one for inner in values for one in inner]
    return list(values)


def grpc_message(name: str, model: BenchModel, row: Any) -> bytes:
    """`ModelInferRequest` with the tensor in `raw_input_contents`. Source: open-inference-protocol, grpc_predict_v2."""
    shape = b"".join(_number(size) for size in row.shape)
    tensor = _field(1, b"input") + _field(2, model.datatype.encode()) + _field(3, shape)
    return _field(1, name.encode()) + _field(5, tensor) + _field(7, row.tobytes())


def from_grpc(message: bytes) -> Any:
    """The numbers of a `ModelInferResponse`: its raw contents, or the tensor's own FP32 contents."""
    for number, content in _fields(message):
        if number == 6:
            return np.frombuffer(content, np.float32)
    for number, content in _fields(message):
        contents = dict(_fields(content)).get(5) if number == 5 else None
        if contents is not None:
            return np.frombuffer(dict(_fields(contents))[6], np.float32)
    raise ValueError(f"no tensor in an answer of {len(message)} bytes")


def _ask_grpc(asked: Question) -> bytes:
    import socket

    talk = Grpc(asked.path, asked.headers, asked.body, asked.port)
    with socket.create_connection(("127.0.0.1", asked.port), timeout=TIMEOUT_S) as wire:
        wire.sendall(talk.request())
        while not talk.hear(wire.recv(1 << 16)):
            wire.sendall(talk.to_send)
            talk.to_send = b""
    if talk.failed:
        raise ValueError("the call brought no message")
    return talk.body[5:]


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    coded = b""
    while value >= 128:
        coded += bytes((value % 128 + 128,))
        value //= 128
    return coded + bytes((value,))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Fields that hold bytes; others are stepped over."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        if kind == 2:
            size = number()
            yield key >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            number()
        else:
            at += struct.calcsize("<d") if kind == 1 else struct.calcsize("<f")
