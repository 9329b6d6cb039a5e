"""Reads long requests in confined processes of their own: no turn of the event loop is as long as they are.

What takes milliseconds here holds everybody else up; see docs/decisions/0018-long-requests.md. A request that is refused
is refused there, word for word as it would be here, and what it took in memory is gone with the process.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import Limited, Unavailable
from sill.core.values import Value
from sill.protocols.mlflow.scoring import ScoringRequest, read_scoring
from sill.protocols.oip.codec import Inference, read_request
from sill.protocols.oip.generate import GenerateRequest, read_generate
from sill.protocols.oip.grpc_requests import GrpcInference, read_infer
from sill.runtimes.drivers import Held, WorkerDied
from sill.runtimes.dtypes import BF16
from sill.runtimes.process import WorkerRuntime
from sill.runtimes.types import Signature
from sill.safety.bodies import Content
from sill.traffic.waiting import deadline_passed

READ_S_MAX = 30.0
"""How long a request may wait and be read that says nothing of its time."""
WAITING_MAX = 64
"""Requests that may wait for one reader."""
MIDDLING_BYTES = 1024 * 1024
"""Longer ones have a reader of their own, so that those below do not wait for them."""
MEMORY_BYTES_MAX = 2 * 1024**3
"""Data a reader may hold."""
READER_NICE = 10
IDLE_S = 20.0
"""A reader that was not asked for so long is ended, and its memory freed."""
_DRIVER = f"{__name__}:RequestReader"
_REST = ""
"""Under this name, which no tensor has, comes what a request says besides its tensors."""


class Wish(Value, frozen=True, kw_only=True):
    """How a body is to be read.

    Attributes:
        kind: one of `READS`.
        header_bytes: see `read_request`.
        content_type, signature: see `read_scoring`.
    """

    kind: str
    header_bytes: int | None = None
    content_type: str = ""
    signature: Signature | None = None


Request = Inference | GrpcInference | ScoringRequest | GenerateRequest
_EMPTY = Signature(inputs=(), outputs=())
_NIL = msgspec.Raw(msgspec.msgpack.encode(None))
"""Instead of an input's data, which has become a tensor."""

READS: Mapping[str, tuple[type[Any], Callable[[Wish, bytes], Any]]] = {
    "infer": (Inference, lambda wish, body: read_request(body, wish.header_bytes)),
    "grpc": (GrpcInference, lambda wish, body: read_infer(body)),
    "scoring": (ScoringRequest, lambda wish, body: read_scoring(wish.content_type, body, wish.signature or _EMPTY)),
    "generate": (GenerateRequest, lambda wish, body: read_generate(body, wish.signature or _EMPTY)),
}
"""By kind: what a body becomes, and by which function."""


class Readers:
    """The readers of one process, one for middling and one for long requests. Use it from one event loop."""

    def __init__(self) -> None:
        self._middling, self._long = _Reader("middling"), _Reader("long")

    async def read(self, wish: Wish, body: Content, timeout_ms: float = 0.0) -> Any:
        """What a body asks: the type that belongs to the kind of wish.

        Args:
            timeout_ms: how long the client waits; 0 if it did not say.
        Raises:
            SillError: the body's own fault, as the function in `READS` says.
            Limited: too many wait already.
            Unavailable: there was no time to read it.
        """
        reader = self._middling if len(body) <= MIDDLING_BYTES else self._long
        return await reader.read(wish, body, min(timeout_ms / 1e3 or READ_S_MAX, READ_S_MAX))

    def close(self) -> None:
        """End them. Nothing is read afterwards."""
        for reader in (self._middling, self._long):
            reader.close()


class _Reader:
    """One process, started when it is needed; its thread does nothing but wait for it."""

    def __init__(self, name: str) -> None:
        self._worker = WorkerRuntime(
            _DRIVER, RequestReader.model_file, must_confine=False, memory_bytes_max=MEMORY_BYTES_MAX
        )
        self._thread = ThreadPoolExecutor(1, f"sill-reader-{name}")
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._is_up = False
        self._rest: asyncio.TimerHandle | None = None

    async def read(self, wish: Wish, body: Content, seconds: float) -> Any:
        """See `Readers.read`."""
        if self._waiting >= WAITING_MAX:
            raise Limited("too many long requests wait.", fix="Try again in a second.", retry_after_s=1.0)
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds), self._turn:
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, wish, body)
        except TimeoutError as late:
            raise deadline_passed() from late
        finally:
            self._waiting -= 1
            self._rest_later()

    def close(self) -> None:
        """See `Readers.close`."""
        if self._rest is not None:
            self._rest.cancel()
        self._worker.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask(self, wish: Wish, body: Content) -> Any:
        asked = {
            "wish": np.frombuffer(msgspec.msgpack.encode(wish), np.uint8),
            "body": np.frombuffer(body, np.uint8),
        }
        try:
            if not self._is_up:
                self._worker.load(b"")
                self._is_up = True
            try:
                told = self._worker.infer(asked)
            except WorkerDied:  # of this request or not: a fresh one says
                told = self._worker.infer(asked)
        except Unavailable as died:
            raise Unavailable("the request could not be read.", fix="Send less at once.") from died
        return joined(wish, told)

    def _rest_later(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
        self._rest = asyncio.get_running_loop().call_later(IDLE_S, self._thread.submit, self._end)

    def _end(self) -> None:
        if not self._waiting and self._is_up:
            self._is_up = False
            self._worker.close()


class RequestReader(Held):
    """What runs in the reader's process: a driver like those of models, whose question is a body."""

    model_file = "reader"

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """Nothing is to be loaded. Who reads for one client goes behind those who answer all others."""
        os.nice(READER_NICE)
        self._signature = _EMPTY

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors of a request, and the rest of it.

        Raises:
            SillError: see `READS`.
        """
        wish = msgspec.msgpack.decode(inputs["wish"].tobytes(), type=Wish)
        return parted(READS[wish.kind][1](wish, inputs["body"].tobytes()))


def parted(request: Request) -> dict[str, Any]:
    """A request's tensors as they cross, and what else it says under `_REST`."""
    if isinstance(request, GrpcInference):
        tensors = request.request.tensors
        bare: Request = msgspec.structs.replace(
            request, request=_bare(request.request), raw=tuple(True for _ in request.raw)
        )
    else:
        tensors = request.tensors
        bare = _bare(request) if isinstance(request, Inference) else msgspec.structs.replace(request, tensors={})
    halves = [name for name, array in tensors.items() if array.dtype == BF16]
    rest = msgspec.msgpack.encode((bare, halves))
    plain = {name: array.view(np.uint16) if name in halves else array for name, array in tensors.items()}
    return plain | {_REST: np.frombuffer(rest, np.uint8)}


def joined(wish: Wish, told: dict[str, Any]) -> Any:
    """What `parted` took apart."""
    kind = READS[wish.kind][0]
    form: Any = tuple[kind, list[str]]  # type: ignore[valid-type]
    bare, halves = msgspec.msgpack.decode(told.pop(_REST).tobytes(), type=form)
    tensors = {name: array.view(BF16) if name in halves else array for name, array in told.items()}
    if isinstance(bare, GrpcInference):
        return msgspec.structs.replace(bare, request=msgspec.structs.replace(bare.request, tensors=tensors))
    return msgspec.structs.replace(bare, tensors=tensors)


def _bare(request: Inference) -> Inference:
    """A request without its tensors, in either form."""
    inputs = tuple(msgspec.structs.replace(one, data=_NIL) for one in request.inputs)
    return msgspec.structs.replace(request, tensors={}, inputs=inputs)
