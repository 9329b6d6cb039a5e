"""runs search: runs by what they logged."""

from functools import partial
from typing import Annotated

import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole
from sill.cli.output import Options, ago, remark, show_json, show_table
from sill.core.names import shorten
from sill.runs.tracking.types import RunRecord, WireRecord
from sill.runs.types import View

SHOWN_LENGTH_MAX = 60


def search(
    filter: Annotated[str, typer.Argument(help="Such as \"metrics.loss < 0.5 and params.model = 'tree'\".")] = "",
    order_by: Annotated[list[str] | None, typer.Option("--order", help="KEY or KEY DESC; may be given again.")] = None,
    experiment: Annotated[list[str] | None, typer.Option(help="Id of an experiment; may be given again.")] = None,
    deleted: Annotated[bool, typer.Option("--deleted", help="Those that were deleted.")] = False,
    limit: Annotated[int, typer.Option(help="Most runs to show.")] = 20,
) -> None:
    """Runs that meet a filter on metrics, params, tags, datasets and attributes, in any order."""
    here = stages()
    page = here.runs.search(
        filter,
        tuple(order_by or ()),
        experiment_ids=tuple(experiment) if experiment else None,
        view=View.DELETED if deleted else View.ACTIVE,
        limit=limit,
    )
    if Options.as_json:
        show_json([WireRecord.of(record) for record in page.items])
        return
    columns = (Whole("id"), "name", "state", "age", "metrics", "params")
    show_table(page.items, "", columns, [_row(record) for record in page.items], partial(nothing, here, "run", ""))
    if page.next:
        remark("there are more; --limit shows them.")


def _row(record: RunRecord) -> tuple[str, ...]:
    run = record.run
    metrics = " ".join(f"{metric.key}={metric.value:.4g}" for metric in record.metrics)
    params = " ".join(f"{key}={value}" for key, value in record.params.items())
    texts = (shorten(metrics, SHOWN_LENGTH_MAX), shorten(params, SHOWN_LENGTH_MAX))
    return (run.id, run.name, run.state.value, ago(run.created_us), *texts)
