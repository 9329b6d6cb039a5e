"""ModelStreamInfer: many requests on one call, each answered in turn, or in parts by a model that streams.

Answers of models that give one come in the order of their requests; parts of a streaming model come as it gives them,
told apart by their id. An error is an answer too: the call goes on.
Source: triton-inference-server/server, docs/user_guide/decoupled_models.md.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from sill.api.inference_grpc_access import Access
from sill.api.inference_grpc_infer import Infer, write_answer
from sill.api.inference_grpc_known import Running
from sill.core.errors import SillError
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.port import Call
from sill.protocols.grpc.status import call_error
from sill.protocols.oip.grpc_answers import FINAL, write_failed, write_parameters, write_streamed
from sill.protocols.oip.grpc_requests import GrpcInference, is_long, read_id, read_infer
from sill.safety.bodies import Content
from sill.traffic.plane import Way

_log = logging.getLogger("sill.grpc")


class StreamInfer:
    """A `grpc.port.Method`."""

    is_streaming = True

    def __init__(self, infer: Infer) -> None:
        self._infer = infer

    def admit(self, head: Head) -> None:
        """Who may not ask is told at once."""
        self._infer.accesses.of(head)

    def message(self, call: Call, content: Content) -> None:
        """The next request."""
        if call.state is None:
            call.state = Conversation(call, self._infer)
        call.state.ask(content)

    def half_closed(self, call: Call) -> None:
        """No further request: the call ends with the last answer."""
        if call.state is None:
            call.state = Conversation(call, self._infer)
        call.state.half_closed()

    def cancelled(self, call: Call) -> None:
        """Stop whatever runs for it."""
        call.state.cancel()


class Conversation:
    """One streaming call."""

    def __init__(self, call: Call, infer: Infer) -> None:
        self._call = call
        self._infer = infer
        self._open = 0
        self._ends = False
        self._turns: deque[_Turn] = deque()
        self._running: set[Running] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, content: Content) -> None:
        """A request: queued, answered in its turn."""
        self._open += 1
        size = len(content)
        try:
            if is_long(content):
                self._begin(self._ask_long(content, _Turn(self._turns, read_id(content), size)))
                return
            access = self._infer.accesses.of(self._call.head)  # its time may have run out since
            asked = read_infer(content)
            way = self._way(access, asked)
        except SillError as refused:
            self._tell(_Turn(self._turns, read_id(content), size), refused)
            return
        if way.model.signature.streams:
            self._begin(self._stream(access, asked, way, size))
        else:
            self._queue(access, asked, way, _Turn(self._turns, asked.request.id, size))

    async def _ask_long(self, content: Content, turn: "_Turn") -> None:
        """A long request; it has its place among the answers before it is read."""
        try:
            access = self._infer.accesses.of(self._call.head)
            asked = await self._infer.read(content, self._call.head.timeout_s)
            way = self._way(access, asked)
        except SillError as refused:
            self._tell(turn, refused)
            return
        except Exception:
            _log.exception("a long request could not be read")
            self._tell(turn, SillError(""))
            return
        if way.model.signature.streams:
            self._turns.remove(turn)  # its parts come as the model gives them
            self._send_answers()
            await self._stream(access, asked, way, turn.size)
        else:
            self._queue(access, asked, way, turn)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _way(self, access: Access, asked: GrpcInference) -> Way:
        wish = self._infer.asked(access, asked, self._call.head.timeout_s)
        return self._infer.plane.find_way(access.token, wish)

    def _queue(self, access: Access, asked: GrpcInference, way: Way, turn: "_Turn") -> None:
        try:
            answer = partial(self._infer.answer, asked)
            running = self._infer.queue(access, way, answer, partial(self._tell, turn))
        except SillError as refused:
            self._tell(turn, refused)
            return
        turn.running = running
        self._running.add(running)

    def half_closed(self) -> None:
        """The client asks no more."""
        self._ends = True
        self._end_if_done()

    def cancel(self) -> None:
        """Nobody waits for any of it."""
        for running in self._running:
            running.cancel()
        for task in self._tasks:
            task.cancel()

    def _tell(self, turn: "_Turn", told: bytes | SillError) -> None:
        if turn.running is not None:
            self._running.discard(turn.running)
        if isinstance(told, SillError):
            turn.answer = write_streamed(write_failed(turn.id, is_marked=True), call_error(told).message)
        else:
            turn.answer = write_streamed(told + write_parameters(4, {FINAL: True}))
        self._send_answers()

    def _send_answers(self) -> None:
        """Those whose turn it is."""
        while self._turns and self._turns[0].answer is not None:
            first = self._turns.popleft()
            self._call.send(first.answer or b"")
            self._answered(first.size)
        self._end_if_done()

    def _answered(self, size: int) -> None:
        self._open -= 1
        self._call.taken(size)

    def _end_if_done(self) -> None:
        if self._ends and not self._open:
            self._call.end()

    async def _stream(self, access: Access, asked: GrpcInference, way: Way, size: int) -> None:
        """Every part as it comes, then that there are no more, if the client asked to be told so."""
        request_id = asked.request.id
        try:
            with self._infer.in_flight.enter("interactive", access.token.digest):
                async with aclosing(self._infer.plane.stream(access.token, way.asked)) as parts:
                    async for told in parts:
                        more = {FINAL: False}
                        self._call.send(write_streamed(write_answer(asked, way, told.model, told.part.outputs, more)))
                        await self._call.room()
            if asked.wants_empty_final:
                self._call.send(write_streamed(write_failed(request_id, is_marked=True)))
        except SillError as refused:
            failed = write_failed(request_id, is_marked=True)
            self._call.send(write_streamed(failed, call_error(refused).message))
        except Exception:
            _log.exception("a stream of %s failed", asked.model_name)
            failed = write_failed(request_id, is_marked=True)
            self._call.send(write_streamed(failed, "internal: something went wrong inside."))
        self._answered(size)
        self._end_if_done()


class _Turn:
    """The place of an answer in the order of requests."""

    __slots__ = ("answer", "id", "running", "size")

    def __init__(self, turns: "deque[_Turn]", request_id: str, size: int) -> None:
        self.id = request_id
        self.size = size
        self.answer: bytes | None = None
        self.running: Running | None = None
        turns.append(self)
