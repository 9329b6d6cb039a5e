"""Models that are loaded and warm, and the endpoints that route to them. A revision takes traffic only once it is ready."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sill.core.errors import Refused
from sill.core.values import Value
from sill.endpoints.types import PlanEndpoint, PlanRevision
from sill.runtimes.port import Runtime
from sill.runtimes.types import Signature, TensorSpec
from sill.traffic.batching import Batcher
from sill.traffic.tensors import Question, finish, plain_way, zero_question

WARM_UPS = 5
PROBE_ROWS = 8
CALIBRATION_ROWS = 32
PROBE_SEED = 20261121
RELATIVE_MAX, ABSOLUTE_MAX = 1e-4, 1e-5
"""How far a row's answer in a batch may lie from its answer alone: the order of sums in single precision, no more."""


class Model:
    """One revision, loaded and warm.

    Args:
        runtime: with the model in it.
        signature: as it was registered; names features, classes and task.
    """

    def __init__(self, revision: PlanRevision, runtime: Runtime) -> None:
        self.revision = revision
        self.signature: Signature = revision.signature
        self._runtime = runtime
        self.plain = plain_way(self.signature)
        row_ms, self.example = warm_up(self.signature, runtime)
        can_batch = rows_are_independent(self.signature, runtime)
        self.batcher = Batcher(
            self._run,
            self._finish,
            row_ms=row_ms,
            batch_row_ms=batch_row_ms(self.signature, runtime) if can_batch else None,
            can_batch=can_batch,
        )

    @property
    def weight(self) -> int:
        """Percent of the traffic."""
        return self.revision.weight

    def _run(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        """No row is no question: many models cannot answer it."""
        is_empty = len(next(iter(arrays.values()))) == 0
        return {} if is_empty else self._runtime.infer(arrays)

    def _finish(self, raw: Mapping[str, Any], rows: int) -> dict[str, Any]:
        if rows == 0:
            return {name: array[:0] for name, array in self.example.items()}
        return finish(self.signature, raw, rows)


def warm_up(signature: Signature, runtime: Runtime) -> tuple[float, dict[str, Any]]:
    """Milliseconds one row takes once warm (the least of a few), and what an answer looks like.

    Raises:
        SillError: the model does not answer a row of zeros.
    """
    question = zero_question(signature)
    raw = runtime.infer(question.arrays)
    return least_ms(runtime, question), finish(signature, raw, question.rows)


def batch_row_ms(signature: Signature, runtime: Runtime) -> float:
    """Milliseconds each further row of a batch takes."""
    return least_ms(runtime, zero_question(signature, CALIBRATION_ROWS, seed=PROBE_SEED)) / CALIBRATION_ROWS


def least_ms(runtime: Runtime, question: Question) -> float:
    """Milliseconds a question takes: the least of a few, which no other process disturbed."""
    taken_ms = []
    for _ in range(WARM_UPS):
        started_s = time.perf_counter()
        runtime.infer(question.arrays)
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
