"""Requests over HTTP that mean no good, each with the answers it may get. Source: SECURITY, B01 to B64."""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

from drill.hostile import Kind as Lasting
from drill.hostile import noise, reads_nothing, slow_body, slow_head, too_large_a_body
from drill.house import CHEAP, PATIENT_MS, content
from sill.testing.serving_zoo import ADMIN, OTHER

LONG_BYTES = 60_000_000
"""Nearly as long as a body may be."""
TEXTS = 1_000_000
"""Nearly as many as a tensor may hold."""
ANSWER_S = 30.0
SENT_BYTES_MAX = 64 * 1024
"""By one call of the system: a kernel that lets no call be interrupted would keep everybody else on this machine waiting."""
GONE = "gone"
"""The server hung up without an answer."""
LEFT = "left"
"""The client did."""
_OVERRIDE = json.dumps({"parameters": {"file:../../x": "bm8="}}).encode()
_CHUNK = b"1\r\n7\r\n"

Fields = dict[str, str]


class Bad(NamedTuple):
    """A kind of request.

    Attributes:
        content: what is sent, head and body; made when it is needed first.
        told: the statuses it may be answered by.
        leaves: hang up without waiting for the answer.
    """

    content: Callable[[], bytes]
    told: Sequence[str]
    leaves: bool = False

    async def ask(self, port: int, address: str) -> str:
        """Send it once over a connection of its own; the status, or `GONE`."""
        reader, writer = await connect(port, address)
        try:
            writer.write(self.content())
            if self.leaves:
                await asyncio.sleep(0)
                return LEFT
            async with asyncio.timeout(ANSWER_S):
                answer = await reader.read(4_096)
            return answer[9:12].decode() or GONE
        except (OSError, TimeoutError):
            return GONE
        finally:
            writer.transport.abort()


def request(body: bytes = b"", path: str = "/v2/models/churn/infer", more: Fields | None = None) -> bytes:
    """A request, with another token than the good client's.

    Args:
        more: adds fields to its head, replaces them, or takes them away with an empty value.
    """
    fields = {
        "Host": "127.0.0.1",
        "Authorization": f"Bearer {ADMIN}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
    } | (more or {})
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def tensor(data: Any = (1.0, 2.0, 3.0), **more: Any) -> dict[str, Any]:
    """The model's input."""
    return {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": data} | more


def asked(*inputs: dict[str, Any], **more: Any) -> bytes:
    """A request with these inputs."""
    return request(json.dumps({"inputs": inputs} | more).encode())


def long(
    data: bytes, shape: Sequence[int], datatype: str = "FP32", end: bytes = b"]}]}", model: str = "churn"
) -> bytes:
    """A request whose input's data is written already."""
    said = json.dumps({"name": "input", "shape": shape, "datatype": datatype})[:-1].encode()
    return request(b'{"inputs":[' + said + b',"data":[' + data + end, f"/v2/models/{model}/infer")


def binary(content: bytes, shape: Sequence[int], datatype: str, model: str, said_bytes: int = 0) -> bytes:
    """A request with a binary tensor; `said_bytes` is how long it says its JSON part is."""
    said = tensor(shape=shape, datatype=datatype, name="INPUT0", parameters={"binary_data_size": len(content)})
    del said["data"]
    head = json.dumps({"inputs": [said]}).encode()
    more = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(said_bytes or len(head))}
    return request(head + content, f"/v2/models/{model}/infer", more)


def _plain() -> bytes:
    return asked(tensor())


def _chunked(body: bytes, more: Fields | None = None) -> bytes:
    return request(b"", more={"Content-Length": "", "Transfer-Encoding": "chunked"} | (more or {})) + body


def _packed(body: bytes, coding: str) -> bytes:
    return request(body, more={"Content-Encoding": coding})


def _texts(content: bytes) -> bytes:
    return binary(content, [TEXTS], "BYTES", "texts")


WHOLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "B01 deep": (lambda: request(b"[" * 100_000), "400"),
    "B01 deep and long": (lambda: long(b"[" * LONG_BYTES, [1, 3]), "400"),
    "B05 a million chunks": (lambda: _chunked(_CHUNK * 1_000_000), "400 413"),
    "B06 length and chunks": (lambda: _chunked(_CHUNK, {"Content-Length": "6"}), "400"),
    "B06 two lengths": (lambda: request(b"{}", more={"content-length": "3"}), "400"),
    "B06 chunk of no size": (lambda: _chunked(b"1;\n7\r\n"), "400"),
    "B06 bare line feeds": (lambda: request(b"").replace(b"\r\n", b"\n"), "400"),
    "B12 another host": (lambda: request(b"", more={"Host": "evil.example"}), "403"),
    "B15 bomb": (lambda: _packed(gzip.compress(bytes(80_000_000), 9), "gzip"), "413"),
    "B15 bomb within the bound": (lambda: _packed(_mild_bomb(), "gzip"), "400 413"),
    "B15 unknown coding": (lambda: _packed(b"{}", "br"), "415"),
    "B17 a line without end": (lambda: b"GET /" + b"x" * 200_000, "400 431"),
    "B17 many fields": (lambda: request(b"", more={f"X-{number}": "x" for number in range(5_000)}), "400 431"),
    "B19 wrong token": (lambda: request(b"{}", more={"Authorization": "Bearer ' OR '1'='1"}), "401"),
    "B50 pickle": (lambda: request(bytes(1_000_000), more={"Content-Type": "application/vnd.bentoml+pickle"}), "415"),
    "B51 shape": (lambda: asked(tensor(shape=[2**4, 2**60 + 2])), "400"),
    "B51 below zero": (lambda: asked(tensor(shape=[2, -5])), "400"),
    "B51 input twice": (lambda: asked(tensor(), tensor()), "400"),
    "B51 header beyond the body": (lambda: binary(bytes(4), [1], "INT32", "ints", 99_999), "400"),
    "B52 widened": (lambda: long(_numbers(), [10_000_000, 3], "FP64"), "413"),
    "B52 wrong count": (lambda: long(_numbers(), [1, 3]), "400"),
    "B52 cut short": (lambda: long(_numbers(), [1, 3], end=b""), "400"),
    "B53 shared memory": (lambda: asked(tensor(parameters={"shared_memory_region": "r"})), "415"),
    "B54 file override": (lambda: request(_OVERRIDE, "/v2/repository/models/churn/load"), "400 403"),
    "B55 import": (lambda: request(b"", "/models?url=http://127.0.0.1/x"), "404"),
    "B56 length beyond": (lambda: binary(b"\xff\xff\xff\xffa", [1], "BYTES", "texts"), "400"),
    "B56 many texts, the last wrong": (lambda: _texts(bytes(4 * TEXTS - 1)), "400"),
    "B56 many texts in JSON": (lambda: long(b'"",' * TEXTS + b'""', [1], "BYTES", model="texts"), "400"),
    "B58 sparse": (lambda: asked(tensor(datatype="SPARSE_COO")), "400 415"),
    "B59 ten gigabytes announced": (lambda: request(b"", more={"Content-Length": "10000000000"}) + b"{", "413"),
    "B60 not a number": (lambda: asked(tensor([float("nan"), 1.0, 2.0])), "400"),
    "B62 name": (lambda: request(b"{}", "/v2/models/%20..%2f/infer"), "400 404"),
    "B62 version": (lambda: request(b"{}", f"/v2/models/churn/versions/{'9' * 99}/infer"), "400 404"),
    "B64 another tenant's": (lambda: request(b"{}", more={"Authorization": f"Bearer {OTHER}"}), "404"),
}
"""What is sent whole, and the statuses it may have."""
LEAVING: dict[str, Callable[[], bytes]] = {
    "B59 a kilobyte of sixty megabytes": lambda: request(b" " * 1_000, more={"Content-Length": "60000000"}),
    "B61 gone before the answer": _plain,
    "B61 gone within the body": lambda: _plain()[:-10],
    "B61 gone after a long body": lambda: long(_numbers(), [1, 3]),
}
LASTING: dict[str, Lasting] = {
    "B17 slow head": slow_head,
    "B17 slow body": slow_body,
    "B59 too large a body": too_large_a_body,
    "reads nothing": reads_nothing,
    "noise": noise,
}
"""Connections that stay; what they are told does not matter."""

BAD = {name: Bad(cache(content), told.split()) for name, (content, told) in WHOLE.items()} | {
    name: Bad(cache(content), (LEFT, GONE), leaves=True) for name, content in LEAVING.items()
}


def _numbers() -> bytes:
    return b"0," * (LONG_BYTES // 2) + b"0"


def _mild_bomb() -> bytes:
    """60 MB of digits, at a ratio that a body may have."""
    row = b"".join(struct.pack("<I", number * 2_654_435_761 % 2**32).hex().encode() + b"," for number in range(2_000))
    return gzip.compress(b'{"inputs":[' + row * (LONG_BYTES // len(row)), 6)


async def lasting(name: str, port: int, address: str) -> str:
    """One connection of a kind that stays."""
    reader, writer = await connect(port, address)
    try:
        await LASTING[name](reader, writer, content(CHEAP, PATIENT_MS))
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return LEFT


async def connect(port: int, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from an address, over which no call sends much at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES_MAX)
    return reader, writer


def asks(name: str) -> Callable[[int, str], Any]:
    """What asks once in the way of that name, on a port and from an address."""
    return BAD[name].ask if name in BAD else partial(lasting, name)
