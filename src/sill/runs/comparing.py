"""Runs side by side: what of their params, metrics, tags and fields differs. The comparison itself is pure."""

from collections.abc import Callable, Iterable, Sequence

from sill.core.actors import Actor
from sill.core.errors import InvalidValue
from sill.core.names import check_id
from sill.core.numbers import to_number
from sill.runs.tracking.service import Tracking
from sill.runs.tracking.types import RunRecord
from sill.runs.types import Comparison, Difference

RUNS_MAX = 100
ROWS_MAX = 20_000
_HIDDEN = "mlflow.log-model.history"
"""A tag of clients that is a list of files; it says nothing to people."""


class Comparisons:
    """Compares runs of one project."""

    def __init__(self, tracking: Tracking) -> None:
        self._tracking = tracking

    async def compare(
        self, actor: Actor, project: str, run_ids: Sequence[str], *, with_equal: bool = False
    ) -> Comparison:
        """What differs between the runs, in their order.

        Args:
            with_equal: also what is the same in all.
        Raises:
            InvalidValue: fewer than two runs, or more than a hundred.
            NotFound: one is not there.
        """
        if not 2 <= len(run_ids) <= RUNS_MAX:
            raise InvalidValue(f"{len(run_ids)} runs were given; 2 to {RUNS_MAX} can be compared.", field="runs")
        records = [await self._tracking.record(actor, project, check_id(run_id)) for run_id in run_ids]
        return compared(records, with_equal=with_equal)


def compared(records: Sequence[RunRecord], *, with_equal: bool) -> Comparison:
    """The comparison of some runs: fields first, then params, metrics and tags by key."""
    rows = [*_fields(records)]
    rows += _rows("param", records, lambda record: dict(record.params))
    rows += _rows("metric", records, lambda record: {one.key: to_number(one.value) for one in record.metrics})
    rows += _rows("tag", records, lambda record: {key: text for key, text in record.tags.items() if key != _HIDDEN})
    differing = [row for row in rows if not _is_same(row)]
    shown = rows if with_equal else differing
    return Comparison(
        runs=tuple(record.run.id for record in records),
        names=tuple(record.run.name for record in records),
        rows=tuple(shown[:ROWS_MAX]),
        equal=len(rows) - len(differing),
        left_out=max(0, len(shown) - ROWS_MAX),
    )


def _fields(records: Sequence[RunRecord]) -> Iterable[Difference]:
    read: dict[str, Callable[[RunRecord], str | float | None]] = {
        "state": lambda record: record.run.state.value,
        "experiment": lambda record: record.run.experiment,
        "user": lambda record: record.run.user or None,
        "code": lambda record: record.run.provenance.code or None,
        "git_revision": lambda record: record.run.provenance.git_revision or None,
        "environment": lambda record: record.run.provenance.environment or None,
        "seed": lambda record: record.run.provenance.seed,
        "seconds": _seconds,
        "datasets": lambda record: (
            " ".join(sorted(f"{one.dataset.name}@{one.dataset.digest}" for one in record.links.inputs.datasets)) or None
        ),
    }
    for key, value in read.items():
        yield Difference(kind="field", key=key, values=tuple(value(record) for record in records))


def _rows(
    kind: str, records: Sequence[RunRecord], read: Callable[[RunRecord], dict[str, str | float]]
) -> list[Difference]:
    every = [read(record) for record in records]
    keys = sorted({key for one in every for key in one})
    return [Difference(kind=kind, key=key, values=tuple(one.get(key) for one in every)) for key in keys]


def _is_same(row: Difference) -> bool:
    return all(value == row.values[0] for value in row.values)


def _seconds(record: RunRecord) -> float | None:
    run = record.run
    return round((run.ended_us - run.started_us) / 1e6, 3) if run.started_us and run.ended_us else None
