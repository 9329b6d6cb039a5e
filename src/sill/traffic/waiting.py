"""One request in a model's queue, and what a batch of them was answered. The order they are taken in is `queueing`'s."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from sill.core.errors import SillError, Unavailable
from sill.traffic.tensors import Question


class Answered:
    """What a batch was answered: outputs as they go over the wire, the first axis `rows` long."""

    __slots__ = ("cpu_ms", "is_whole", "outputs", "rows", "started_ns", "texts", "took_ns")

    def __init__(
        self,
        outputs: dict[str, Any],
        rows: int,
        cpu_ms: float,
        started_ns: int = 0,
        took_ns: int = 0,
        *,
        is_whole: bool = False,
    ) -> None:
        self.outputs = outputs
        self.rows = rows
        self.cpu_ms = cpu_ms
        self.started_ns = started_ns
        self.took_ns = took_ns
        self.is_whole = is_whole
        self.texts: dict[str, list[bytes]] = {}
        """What protocols made of the outputs' rows, by name; many requests share it."""


class Part:
    """One request's rows of a batch's answer: `start` to `end`."""

    __slots__ = ("end", "of", "start")

    def __init__(self, of: Answered, start: int, end: int) -> None:
        self.of = of
        self.start = start
        self.end = end

    @property
    def outputs(self) -> dict[str, Any]:
        """The request's own outputs, by name."""
        if self.of.is_whole:
            return self.of.outputs
        return {name: array[self.start : self.end] for name, array in self.of.outputs.items()}

    @property
    def cpu_ms(self) -> float:
        """The request's share of the milliseconds of CPU its batch took."""
        return self.of.cpu_ms * (self.end - self.start) / max(self.of.rows, 1)


Done = Callable[[Part | SillError], None]
"""Called once, on the loop's thread, with the answer or with why there is none."""


class Packing:
    """How rows that came as plain bytes become the one input of a model: joined once for a whole batch.

    Args:
        dtype: of the bytes, little-endian.
        inner: shape of one row.
    """

    __slots__ = ("_dtype", "_name", "_shape")

    def __init__(self, name: str, dtype: Any, inner: tuple[int, ...]) -> None:
        self._name = name
        self._dtype = dtype
        self._shape = (-1, *inner)

    def arrays(self, packed: Sequence[bytes]) -> dict[str, Any]:
        """The model's input."""
        content = packed[0] if len(packed) == 1 else b"".join(packed)
        return {self._name: np.frombuffer(content, self._dtype).reshape(self._shape)}


class Group(Protocol):
    """Who asked many alike, and is told of a batch at once."""

    packing: Packing

    def told(self, batch: "list[Waiting]", answered: Answered) -> None:
        """Rows `start` to `start + rows` of the answer are each one's own. On the loop's thread."""
        ...

    def failed(self, one: "Waiting", error: SillError) -> None:
        """One of them gets no answer. On the loop's thread."""
        ...


class Waiting(msgspec.Struct, eq=False):
    """One request in the queue: a question of its own, or packed rows of a group. One is made for every request.

    Attributes:
        deadline_s: on the monotonic clock, which is the event loop's too.
        form: what tells it from those it cannot share a batch with; see `Question.form`.
        id: for its group's own use.
        came_ns: when it came, on the performance counter.
        start: its first row in the batch it was answered with.
    """

    rows: int
    deadline_s: float
    done: Callable[[Any], object]
    question: Question | None = None
    group: Group | None = None
    packed: bytes = b""
    id: str = ""
    form: tuple[Any, ...] | None = None
    came_ns: int = msgspec.field(default_factory=time.perf_counter_ns)
    start: int = 0
    is_cancelled: bool = False

    def arrays(self) -> dict[str, Any]:
        """The model's inputs."""
        if self.question is not None:
            return self.question.arrays
        assert self.group is not None
        return self.group.packing.arrays((self.packed,))

    def refuse(self, error: SillError) -> None:
        """Say that there is no answer, if anybody waits for it."""
        if self.is_cancelled:
            return
        if self.group is not None:
            self.group.failed(self, error)
        else:
            self.done(error)


def arrays_of(batch: list[Waiting]) -> dict[str, Any]:
    """The inputs of all, in their order."""
    first = batch[0]
    if len(batch) == 1:
        return first.arrays()
    packing = None if first.group is None else first.group.packing
    if packing is not None and all(one.group is not None and one.group.packing is packing for one in batch):
        return packing.arrays([one.packed for one in batch])
    every = [one.arrays() for one in batch]
    return {name: np.concatenate([arrays[name] for arrays in every]) for name in every[0]}


def tell(batch: list[Waiting], answered: Answered) -> None:
    """Everybody his rows; those of a group together."""
    start, first, is_one = 0, batch[0].group, True
    for one in batch:
        one.start = start
        start += one.rows
        is_one = is_one and one.group is first
    if first is not None and is_one:
        first.told(batch, answered)
        return
    groups: dict[int, list[Waiting]] = {}
    for one in batch:
        if one.group is not None:
            groups.setdefault(id(one.group), []).append(one)
        elif not one.is_cancelled:
            one.done(Part(answered, one.start, one.start + one.rows))
    for together in groups.values():
        group = together[0].group
        assert group is not None
        group.told(together, answered)


def deadline_passed() -> Unavailable:
    """The error of a request whose time ran out."""
    return Unavailable("the deadline passed before the model answered.", fix="Allow more time, or send fewer at once.")
