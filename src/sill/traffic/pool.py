"""Models that are loaded and warm, and the endpoints that route to them. A revision takes traffic only once it is ready."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from sill.core.errors import Refused, Unavailable
from sill.core.values import Value
from sill.endpoints.types import PlanEndpoint, PlanRevision
from sill.runtimes.port import Runtime, Streams, Widens
from sill.runtimes.types import Signature, TensorSpec
from sill.traffic.batching import Batcher
from sill.traffic.lanes import CORES
from sill.traffic.tensors import Finisher, Question, finish, form_of, has_rows, plain_way, zero_question
from sill.traffic.waiting import Answered, Packing, Part

WARM_UPS, WARM_UPS_MAX, TRIED_MS = 5, 50, 20.0
"""How often a question is asked to see what it takes: until so many milliseconds are spent on it, but not without bounds."""
PROBE_ROWS = 8
CALIBRATION_ROWS = 32
PROBE_SEED = 20261121
WIDE_MS_MIN = 5.0
"""A row that takes less is not worth the waking of other cores."""
WIDE_GAIN_MIN = 1.25
"""So many times as fast all cores must be, for the memory and the processor time they take besides."""
RELATIVE_MAX, ABSOLUTE_MAX = 1e-4, 1e-5
"""How far a row's answer in a batch may lie from its answer alone: the order of sums in single precision, no more."""


class Measures(Value, frozen=True, kw_only=True):
    """What was found out about a model when it was first loaded; it holds for its bytes, so it is found out once."""

    row_ms: float
    more_ms: float | None
    can_batch: bool
    example: dict[str, Any]
    is_wide: bool = False
    """Whether a lone question is answered sooner by all cores."""


class Loaded(Value, frozen=True, kw_only=True):
    """A runtime with a model that was seen to answer."""

    runtime: Runtime
    measures: Measures
    load_ms: float = 0.0


def measure(signature: Signature, runtime: Runtime, known: Measures | None = None) -> Measures:
    """What a model takes and gives; what is known already is only tried once, which warms it up.

    Raises:
        SillError: the model does not answer a row of zeros.
    """
    if known is not None:
        question = zero_question(signature)
        finish(signature, runtime.infer(question.arrays), question.rows)
        if known.is_wide and isinstance(runtime, Widens):
            runtime.widen()
        return known
    row_ms, example = warm_up(signature, runtime)
    can_batch = has_rows(signature) and rows_are_independent(signature, runtime)
    more_ms = batch_row_ms(signature, runtime) if can_batch else None
    is_wide = gains_by_cores(signature, runtime, row_ms)
    return Measures(row_ms=row_ms, more_ms=more_ms, can_batch=can_batch, example=example, is_wide=is_wide)


class Model:
    """One revision: in memory, or held back until it is (`cache`).

    Args:
        runtime: with the model in it; None for one that is loaded when it is asked for.
        lanes: batches that may run at once, if it is a dear one.

    Attributes:
        signature: as it was registered; names features, classes and task.
    """

    def __init__(self, revision: PlanRevision, runtime: Runtime | None = None, lanes: int = CORES) -> None:
        self.revision = revision
        self.signature: Signature = revision.signature
        self.measures: Measures | None = None
        self.load_ms = 0.0
        self._runtime: Runtime | None = None
        self._has_rows = has_rows(self.signature)
        self._check = Finisher(self.signature)
        self._streams = 0
        self.plain = plain_way(self.signature)
        self.packing = None if self.plain is None else Packing(self.plain.name, self.plain.dtype, self.plain.inner)
        self.batcher = Batcher(self._run, self._finish, row_ms=0.0, can_batch=False, lanes=lanes)
        if runtime is not None:
            self.wake(Loaded(runtime=runtime, measures=measure(self.signature, runtime)))

    @property
    def is_warm(self) -> bool:
        """Whether it is in memory."""
        return self._runtime is not None

    @property
    def is_idle(self) -> bool:
        """Whether it is answering nobody."""
        return self.batcher.is_idle and not self._streams

    @property
    def example(self) -> dict[str, Any]:
        """What an answer looks like; empty before it was loaded once."""
        return {} if self.measures is None else self.measures.example

    @property
    def memory_bytes(self) -> int:
        """What it holds in memory now, by its runtime's estimate."""
        return 0 if self._runtime is None else self._runtime.memory_bytes()

    def wake(self, loaded: Loaded) -> None:
        """It is in memory: answer, also what was held."""
        self._runtime, self.measures = loaded.runtime, loaded.measures
        self.load_ms = loaded.load_ms
        known = loaded.measures
        self.batcher.calibrate(known.row_ms, known.more_ms, can_batch=known.can_batch)
        self.batcher.run_wide = self._run_wide if known.is_wide else None
        self.batcher.release()

    def sleep(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Hold what is asked from now on, and let go of the memory by what is returned. Only while it is idle.

        Args:
            wake: called when somebody asks.
        """
        runtime, self._runtime = self._runtime, None
        self.batcher.hold(wake)
        return (lambda: None) if runtime is None else runtime.close

    @property
    def weight(self) -> int:
        """Percent of the traffic."""
        return self.revision.weight

    def stream(self, question: Question) -> Iterator[Part] | None:
        """The parts of the answer, for a model that gives it in parts; None for others. Runs in the reader's thread."""
        runtime: object = self._runtime
        if not self.signature.streams or not isinstance(runtime, Streams):
            return None
        self._streams += 1
        return self._parts(runtime.stream(question.arrays))

    def _parts(self, answers: Iterator[Mapping[str, Any]]) -> Iterator[Part]:
        try:
            for raw in answers:
                yield self._part(raw)
        finally:
            self._streams -= 1

    def _part(self, raw: Mapping[str, Any]) -> Part:
        rows = len(next(iter(raw.values())))
        return Part(Answered(self._check(raw, rows), rows, 0.0), 0, rows)

    def _run(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """No row is no question: many models cannot answer it. Where inner dimensions are free, only they know the shape."""
        is_empty = self._has_rows and len(next(iter(arrays.values()))) == 0
        if is_empty and form_of(self.signature, arrays) is None:
            return {}
        if self._runtime is None:
            raise Unavailable("the model left memory.", fix="Try again.", retry_after_s=1)
        return self._runtime.infer(arrays)

    def _run_wide(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same, by all cores; of one row at least."""
        runtime: object = self._runtime
        return runtime.infer_wide(arrays) if isinstance(runtime, Widens) else self._run(arrays)

    def _finish(self, raw: Mapping[str, Any], rows: int) -> dict[str, Any]:
        if rows == 0 and not raw:
            return {name: array[:0] for name, array in self.example.items()}
        return self._check(raw, rows)


def warm_up(signature: Signature, runtime: Runtime) -> tuple[float, dict[str, Any]]:
    """Milliseconds one row takes once warm (the least of a few), and what an answer looks like.

    Raises:
        SillError: the model does not answer a row of zeros.
    """
    question = zero_question(signature)
    raw = runtime.infer(question.arrays)
    return least_ms(runtime.infer, question), finish(signature, raw, question.rows)


def batch_row_ms(signature: Signature, runtime: Runtime) -> float:
    """Milliseconds each further row of a batch takes."""
    return least_ms(runtime.infer, zero_question(signature, CALIBRATION_ROWS, seed=PROBE_SEED)) / CALIBRATION_ROWS


def gains_by_cores(signature: Signature, runtime: Runtime, row_ms: float) -> bool:
    """Whether one row is answered sooner by all cores; the runtime is ready for it then."""
    widens: object = runtime
    if row_ms < WIDE_MS_MIN or CORES == 1 or not isinstance(widens, Widens):
        return False
    widens.widen()
    if least_ms(widens.infer_wide, zero_question(signature)) * WIDE_GAIN_MIN <= row_ms:
        return True
    widens.narrow()
    return False


def least_ms(infer: Callable[[Mapping[str, Any]], object], question: Question) -> float:
    """Milliseconds a question takes: the least of a few, which no other process disturbed. Quick ones are tried more often."""
    taken_ms: list[float] = []
    while len(taken_ms) < WARM_UPS or (sum(taken_ms) < TRIED_MS and len(taken_ms) < WARM_UPS_MAX):
        started_s = time.perf_counter()
        infer(question.arrays)
        taken_ms.append((time.perf_counter() - started_s) * 1e3)
    return min(taken_ms)


def rows_are_independent(signature: Signature, runtime: Runtime) -> bool:
    """True if rows answered together get the answers they get alone; only then may requests share a batch.

    A model that normalises over its batch, or has a fixed batch size, is found out here.
    """
    probe = zero_question(signature, PROBE_ROWS, seed=PROBE_SEED)
    try:
        together = runtime.infer(probe.arrays)
        alone = [
            runtime.infer({name: array[row : row + 1] for name, array in probe.arrays.items()})
            for row in range(PROBE_ROWS)
        ]
    except Exception:  # whatever a model raises for a batch: then it is asked row by row
        return False
    return all(
        len(array) == PROBE_ROWS and _same(array, np.concatenate([one[name] for one in alone]))
        for name, array in together.items()
    )


def _same(together: Any, alone: Any) -> bool:
    if together.shape != alone.shape:
        return False
    if together.dtype.kind != "f":
        return bool((together == alone).all())
    return bool(np.allclose(together, alone, rtol=RELATIVE_MAX, atol=ABSOLUTE_MAX, equal_nan=True))


class Route(Value, frozen=True, kw_only=True):
    """An endpoint and the loaded models behind it, newest revision first."""

    endpoint: PlanEndpoint
    answering: tuple[Any, ...]
    shadows: tuple[Any, ...] = ()

    def version(self, number: int) -> Any:
        """The loaded model of this version that may answer, or None."""
        return next((model for model in self.answering if model.revision.model_version == number), None)


def make_route(endpoint: PlanEndpoint, loaded: Mapping[int, Model], before: Route | None) -> Route:
    """How an endpoint is answered now.

    While the revision that is to be live is not ready, the models that answered before go on.

    Args:
        loaded: ready models by revision number.
    Raises:
        Refused: no revision is ready, now or before.
    """
    newest_first = sorted(endpoint.revisions, key=lambda revision: -revision.number)
    answering = [loaded[r.number] for r in newest_first if r.number in loaded and r.weight > 0 and not r.is_shadow]
    main = max((r for r in newest_first if not r.is_shadow), key=lambda r: r.weight, default=None)
    shadows = tuple(loaded[r.number] for r in newest_first if r.is_shadow and r.number in loaded)
    if main is not None and main.number not in loaded and before is not None:
        return Route(endpoint=endpoint, answering=before.answering, shadows=shadows)
    if not answering:
        raise Refused(f"endpoint {endpoint.name!r} has no revision that is ready.", fix="Look at its revisions.")
    return Route(endpoint=endpoint, answering=tuple(answering), shadows=shadows)


def output_specs(model: Model) -> tuple[TensorSpec, ...]:
    """The outputs as they are named and shaped on the wire; the first axis is free."""
    names: Callable[[Any], str] = _datatype
    return tuple(
        TensorSpec(name=name, datatype=names(array), shape=(-1, *array.shape[1:]))
        for name, array in model.example.items()
    )


def _datatype(array: Any) -> str:
    kinds = {"f": "FP", "i": "INT", "u": "UINT"}
    if array.dtype.kind in kinds:
        return f"{kinds[array.dtype.kind]}{max(array.dtype.itemsize * 8, 32 if array.dtype.kind == 'f' else 8)}"
    return "BOOL" if array.dtype.kind == "b" else "BYTES"
