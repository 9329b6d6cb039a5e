"""Reads series back: whole and paged, of several runs at once, sampled for MLflow's charts, thinned out for ours."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from sill.runs.tracking import series
from sill.runs.tracking.points import BY_STEP, BY_TIME, Place, Triple, from_token, place_of, thin, to_token
from sill.runs.tracking.types import RunMetric
from sill.runs.types import Metric
from sill.stores.database import Page

SAMPLED_MAX = 25_000
"""Most points of one run in a sample, however many share a step."""


def page(connection: Connection, project: str, run_id: str, key: str, after: str, limit: int) -> Page[Metric]:
    """Points in MLflow's order, timestamp, step, value, each once; at most `limit`.

    Raises:
        InvalidValue: `after` is not a token of a history.
    """
    place = from_token(after) if after else None
    found = _first(connection, project, run_id, key, limit + 1, place)
    token = to_token(place_of(found[limit - 1], BY_TIME)) if len(found) > limit else ""
    return Page(items=tuple(_metrics(key, found[:limit])), next=token)


def bulk(connection: Connection, project: str, run_ids: Sequence[str], key: str, limit: int) -> tuple[RunMetric, ...]:
    """Points of several runs, by run id, then in MLflow's order; at most `limit` in all."""
    found: list[RunMetric] = []
    for run_id in sorted(set(run_ids)):
        some = _first(connection, project, run_id, key, limit - len(found))
        found += [RunMetric(run_id=run_id, metric=metric) for metric in _metrics(key, some)]
        if len(found) >= limit:
            break
    return tuple(found)


def sampled(
    connection: Connection, project: str, run_ids: Sequence[str], key: str, span: tuple[int, int] | None, count: int
) -> tuple[RunMetric, ...]:
    """Points at about `count` steps, the same for all runs, so that runs can be compared.

    Steps are taken evenly of those that any run has (within `span`, ends included), and first and last of each run.
    """
    import numpy as np

    steps = np.empty(0, np.int64)
    ends: set[int] = set()
    for run_id in run_ids:
        own = _steps(connection, project, run_id, key)
        ends |= {int(step) for step in (*own[:1], *own[-1:])}
        steps = np.union1d(steps, own) if len(steps) else own
    if span is not None:
        steps = steps[(steps >= span[0]) & (steps <= span[1])]
        ends = {step for step in ends if span[0] <= step <= span[1]}
    if len(steps) > count:
        at = (np.arange(count) * (len(steps) / count)).astype(np.int64)
        steps = np.union1d(steps[at], [*ends, int(steps[-1])])
    return tuple(
        RunMetric(run_id=run_id, metric=metric)
        for run_id in run_ids
        for metric in _metrics(key, _at_steps(connection, project, run_id, key, steps))
    )


def curve(connection: Connection, project: str, run_id: str, key: str, count: int) -> tuple[Metric, ...]:
    """About `count` points by step that show every peak: see `points.thin`."""
    found = series.entries(connection, project, run_id, key)
    total = sum(entry.points for entry in found)
    return tuple(_metrics(key, thin(series.blocks(connection, found, BY_STEP), total, count).tolist()))


def _first(
    connection: Connection, project: str, run_id: str, key: str, limit: int, after: Place | None = None
) -> list[Triple]:
    found: list[Triple] = []
    for block in _blocks(connection, project, run_id, key, BY_TIME, after):
        found += block[: limit - len(found)].tolist()
        if len(found) >= limit:
            break
    return found


def _steps(connection: Connection, project: str, run_id: str, key: str) -> Any:
    """The steps of a series, each once, in order."""
    import numpy as np

    found = np.concatenate([np.empty(0, np.int64), *(b["step"] for b in _blocks(connection, project, run_id, key))])
    return found[np.concatenate((found[:1] == found[:1], found[1:] > found[:-1]))]


def _at_steps(connection: Connection, project: str, run_id: str, key: str, steps: Any) -> list[Triple]:
    """The points at some steps; rows without one are not taken up."""
    wanted = [
        entry
        for entry in series.entries(connection, project, run_id, key)
        if steps.searchsorted(entry.step_min) < steps.searchsorted(entry.step_max, side="right")
    ]
    found: list[Triple] = []
    for block in series.blocks(connection, wanted, BY_STEP):
        own = block["step"]
        here = steps[steps.searchsorted(own[0]) : steps.searchsorted(own[-1], side="right")]
        for start, end in zip(own.searchsorted(here), own.searchsorted(here, side="right"), strict=True):
            found += block[start:end].tolist()
        if len(found) >= SAMPLED_MAX:
            break
    return found[:SAMPLED_MAX]


def _blocks(
    connection: Connection,
    project: str,
    run_id: str,
    key: str,
    order: tuple[str, str] = BY_STEP,
    after: Place | None = None,
) -> Iterator[Any]:
    return series.blocks(connection, series.entries(connection, project, run_id, key), order, after)


def _metrics(key: str, triples: Sequence[Triple]) -> list[Metric]:
    return [Metric(key=key, step=step, timestamp_ms=ms, value=value) for step, ms, value in triples]
