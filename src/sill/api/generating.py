"""The generate extension: one question as flat JSON, one answer as flat JSON, or a stream of them as server-sent events.

Source: triton-inference-server/server, docs/protocol/extension_generate.md. Our own rule: a name beside `id` and
`parameters` that is no input of the model is refused, so that a wrong name is not taken for a parameter.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from itertools import chain
from typing import Any

import msgspec

from sill.api.describing import main_model
from sill.api.inference_heads import (
    Headers,
    check_json,
    project_of,
    read_body,
    send_packed,
    wishes_of,
)
from sill.core.errors import InvalidValue, SillError
from sill.core.names import shorten
from sill.endpoints.types import PlanToken
from sill.protocols.oip.codec import ID_LENGTH_MAX
from sill.protocols.oip.errors import Receive, Send
from sill.protocols.oip.paths import Target
from sill.protocols.oip.tensors import RANK_MAX, read_tensor, write_tensor
from sill.protocols.oip.types import ProtocolError, RequestInput
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.strict_json import decode
from sill.traffic.plane import Plane, Told

EVENTS_TYPE = b"text/event-stream; charset=utf-8"
RESERVED = ("id", "parameters")
HALVES = ("FP16", "BF16")


class Generating:
    """Answers `generate` and `generate_stream`."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def answer(self, token: PlanToken, target: Target, headers: Headers, receive: Receive, send: Send) -> None:
        """Ask the model, and send its one answer, or its answers as they come.

        Raises:
            SillError: before anything was sent; what goes wrong later is told as an event.
        """
        project = project_of(headers, target)
        route = self._plane.route(token, project, target.name, target.version)
        check_json(headers)
        wishes = wishes_of(headers)
        body = await read_body(receive)
        if body is None:
            return
        given = decode(body, dict[str, Any])
        tensors = to_tensors(main_model(route, target.version).signature, given)
        asked = wishes.asked((project, target.name), target.version, _id(given) or self._plane.new_id(), tensors)
        parts = self._plane.stream(token, asked)
        try:
            if target.verb == "generate_stream":
                await _send_events(parts, target.name, asked.id, receive, send)
            else:
                await send_packed(send, _written(target.name, asked.id, await _only(parts)), headers)
        finally:
            await parts.aclose()


def to_tensors(signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are named like inputs, as tensors: a value stands for one row, or for one element.

    Raises:
        InvalidValue: a name that is no input, or a value that is not of the input's kind or shape.
    """
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidValue("parameters is an object.", field="parameters")
    specs = {spec.name: spec for spec in signature.inputs}
    for name in given:
        if name not in specs and name not in RESERVED:
            raise InvalidValue(
                f"{shorten(name)!r} is no input; the model takes {', '.join(specs)}.",
                fix="Put parameters into parameters.",
                field=name[:100],
            )
    values = {**{name: value for name, value in parameters.items() if name in specs}, **given}
    return {name: _tensor(spec, values[name]) for name, spec in specs.items() if name in values}


def _tensor(spec: TensorSpec, value: Any) -> Any:
    dims, flat = _flat(spec.name, value)
    rank = len(spec.shape)
    if not dims:
        shape = (1,) * max(rank, 1)
    else:
        shape = (1, *dims) if len(dims) == rank - 1 else dims
    datatype = "FP32" if spec.datatype in HALVES else spec.datatype
    data = msgspec.Raw(msgspec.json.encode(flat))
    tensor = read_tensor(RequestInput(name=spec.name, shape=shape, datatype=datatype, data=data))
    return tensor.reshape(()) if rank == 0 and tensor.size == 1 else tensor


def _flat(name: str, value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Sizes of a nested list, and its values in a row."""
    dims: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        sizes = {len(one) if isinstance(one, list) else -1 for one in level}
        if len(sizes) != 1 or len(dims) == RANK_MAX:
            raise InvalidValue(f"{shorten(name)!r} is a list of unequal lists.", field=name[:100])
        dims.append(sizes.pop())
        level = list(chain.from_iterable(level))
    return tuple(dims), level


def _id(given: Mapping[str, Any]) -> str:
    said = given.get("id", "")
    if not isinstance(said, str) or len(said) > ID_LENGTH_MAX or (said and not said.isprintable()):
        raise InvalidValue(f"id is a text of up to {ID_LENGTH_MAX} printable characters.", field="id")
    return said


async def _only(parts: AsyncGenerator[Told, None]) -> Told:
    """The one answer of a model that gives one.

    Raises:
        InvalidValue: it gave none, or several.
    """
    found = [told async for told in _at_most(parts, 2)]
    if len(found) != 1:
        raise InvalidValue(
            "generate is for models that give exactly one answer; this one gave none, or several.",
            fix="Use generate_stream.",
        )
    return found[0]


async def _at_most(parts: AsyncGenerator[Told, None], count: int) -> AsyncGenerator[Told, None]:
    async for told in parts:
        yield told
        count -= 1
        if not count:
            return


def _written(name: str, request_id: str, told: Told) -> bytes:
    """Each output under its name: a value for one element, a flat list for more."""
    answer: dict[str, Any] = {"id": request_id, "model_name": name, "model_version": str(told.model_version)}
    for output, array in told.part.outputs.items():
        data = write_tensor(output, array).data or []
        answer[output] = data[0] if len(data) == 1 else data
    return msgspec.json.encode(answer)


async def _send_events(
    parts: AsyncGenerator[Told, None], name: str, request_id: str, receive: Receive, send: Send
) -> None:
    """One event for each answer. A slow reader is waited for here, a client that leaves ends the model's work.

    The first answer is waited for before the head is sent, so that what is wrong with a request has its status.
    """
    first = await anext(parts, None)
    start = [(b"content-type", EVENTS_TYPE), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": start})
    leaving = asyncio.ensure_future(_left(receive))
    try:
        told = first
        while told is not None and not leaving.done():
            await _send_event(send, _written(name, request_id, told))
            told = await _next_or_left(parts, leaving)
    except SillError as failed:
        await _send_event(send, msgspec.json.encode(ProtocolError(error=f"{failed.code}: {failed}")))
    finally:
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    await send({"type": "http.response.body", "body": b""})


async def _next_or_left(parts: AsyncGenerator[Told, None], leaving: "asyncio.Future[None]") -> Told | None:
    """The next answer; None at their end, or once the client has left."""
    coming = asyncio.ensure_future(_next(parts))

    def stop(_: object) -> None:
        coming.cancel()

    leaving.add_done_callback(stop)
    try:
        return await coming
    except asyncio.CancelledError:
        if leaving.done() and not leaving.cancelled():
            return None
        raise
    finally:
        leaving.remove_done_callback(stop)


async def _next(parts: AsyncGenerator[Told, None]) -> Told | None:
    return await anext(parts, None)


async def _send_event(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
