"""The generate extension: one question as flat JSON, one answer as flat JSON, or a stream of them as server-sent events.

How a question is read is `protocols.oip.generate`'s.
"""

import asyncio
from collections.abc import AsyncGenerator
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
from sill.api.long_reading import Readers, Wish
from sill.core.errors import InvalidValue, SillError
from sill.endpoints.types import PlanToken
from sill.protocols.oip.errors import Receive, Send
from sill.protocols.oip.generate import GenerateRequest, read_generate
from sill.protocols.oip.long import is_long
from sill.protocols.oip.paths import Target
from sill.protocols.oip.tensors import write_tensor
from sill.protocols.oip.types import ProtocolError
from sill.runtimes.types import Signature
from sill.safety.bodies import Content
from sill.traffic.plane import Plane, Told

EVENTS_TYPE = b"text/event-stream; charset=utf-8"


class Generating:
    """Answers `generate` and `generate_stream`."""

    def __init__(self, plane: Plane, readers: Readers) -> None:
        self._plane = plane
        self._readers = readers

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
        request = await self._read(body, main_model(route, target.version).signature, wishes.timeout_ms)
        place, request_id = (project, target.name), request.id or self._plane.new_id()
        asked = wishes.asked(place, target.version, request_id, request.tensors)
        parts = self._plane.stream(token, asked)
        try:
            if target.verb == "generate_stream":
                await _send_events(parts, target.name, asked.id, receive, send)
            else:
                await send_packed(send, _written(target.name, asked.id, await _only(parts)), headers)
        finally:
            await parts.aclose()

    async def _read(self, body: Content, signature: Signature, timeout_ms: float) -> GenerateRequest:
        if not is_long(body):
            return read_generate(bytes(body), signature)
        wish = Wish(kind="generate", signature=signature)
        request: GenerateRequest = await self._readers.read(wish, body, timeout_ms)
        return request


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
