"""runs compare, note, delete, restore; experiments: what was tried, side by side, and what becomes of it."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sill.cli.client import nothing, stages
from sill.cli.layout import Whole, amount, plain
from sill.cli.options import add
from sill.cli.output import Options, ago, progress, remark, show_json, show_line, show_table, show_text, size, when
from sill.cli.runs import PANEL, RunId, name_and_value
from sill.cli.tracking import search
from sill.core.errors import InvalidValue
from sill.runs.experiments.types import ExperimentChange, ExperimentSpec
from sill.runs.types import RunDeleted, View

NOTE_TAG = "mlflow.note.content"
SHOWN_LENGTH_MAX = 60

ExperimentId = Annotated[str, typer.Argument(help="Id of an experiment.", metavar="EXPERIMENT")]
Now = Annotated[bool, typer.Option("--now", help="Erase at once: rows and bytes are gone, nothing brings them back.")]
Deleted = Annotated[bool, typer.Option("--deleted", help="Those that were deleted and can still be restored.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    runs = typer.Typer(help="Runs side by side, notes on them, and their deletion.")
    add(runs, list_runs, "sill runs list --deleted", name="list")
    add(runs, compare, "sill runs compare RUN RUN", "sill runs compare RUN RUN --all --json", name="compare")
    best = "sill runs search \"params.model = 'tree'\" --order 'metrics.auc DESC'"
    add(runs, search, "sill runs search 'metrics.loss < 0.5'", best, name="search")
    add(runs, note, "sill runs note RUN", 'sill runs note RUN "lower rate, same data"', name="note")
    add(runs, delete, "sill runs delete RUN", "sill runs delete RUN RUN --now", name="delete")
    add(runs, restore, "sill runs restore RUN", name="restore")
    add(runs, retention, "sill runs retention", "sill runs retention --days 7", name="retention")
    app.add_typer(runs, name="runs", rich_help_panel=PANEL)
    experiments = typer.Typer(help="Experiments: what runs are grouped in.")
    filtered = "sill experiments list --filter \"name LIKE 'tune%'\""
    add(experiments, list_experiments, "sill experiments list", filtered, name="list")
    add(experiments, create_experiment, "sill experiments create tuning --tag team=vision", name="create")
    add(experiments, change_experiment, "sill experiments change 3 --name tuning-2 --tag team=vision", name="change")
    add(experiments, delete_experiment, "sill experiments delete 3", "sill experiments delete 3 --now", name="delete")
    add(experiments, restore_experiment, "sill experiments restore 3", name="restore")
    app.add_typer(experiments, name="experiments", rich_help_panel=PANEL)


def list_runs(
    experiment: Annotated[str, typer.Option(help="Name of an experiment.")] = "",
    deleted: Deleted = False,
    limit: Annotated[int, typer.Option(help="Most runs to show.")] = 20,
) -> None:
    """Runs with their experiment, the newest first; or those that were deleted."""
    here = stages()
    view = View.DELETED if deleted else View.ACTIVE
    page = here.runs.list(experiment=experiment, limit=limit, view=view)
    rows = [
        (each.id, each.name, each.kind, each.state.value, each.experiment, each.user, ago(each.created_us))
        for each in page.items
    ]
    columns = (Whole("id"), "name", "kind", "state", "experiment", "user", "age")
    noun = "deleted run" if deleted else "run"
    show_table(page.items, "", columns, rows, partial(nothing, here, noun, "sill run -- python train.py"))


def compare(
    run_ids: Annotated[list[str], typer.Argument(help="Ids of two runs or more.", metavar="RUN...")],
    every: Annotated[bool, typer.Option("--all", help="Also what is the same in all.")] = False,
) -> None:
    """Runs side by side: params, metrics, tags and fields that differ."""
    found = stages().runs.compare(run_ids, with_equal=every)
    rows = [(each.kind, each.key, *(_shown(value) for value in each.values)) for each in found.rows]
    columns = ("", "", *(name or run_id for name, run_id in zip(found.names, found.runs, strict=True)))
    show_table(found, "", columns, rows, "they do not differ.")
    if found.equal and not every:
        remark(f"{found.equal} things are the same in all; --all shows them.")


def note(
    run_id: RunId,
    text: Annotated[str, typer.Argument(help="The note, in Markdown; it is shown when none is given.")] = "",
    file: Annotated[Path | None, typer.Option(help="Take the note from this file.")] = None,
) -> None:
    """Show the note on a run, or write one; the console and MLflow's clients show it as the run's description."""
    here = stages()
    given = file.read_text("utf-8") if file else text
    if given:
        here.runs.set_tags(run_id, {NOTE_TAG: given})
    kept = given or here.runs.data(run_id).tags.get(NOTE_TAG, "")
    if Options.as_json:
        show_json({"run_id": run_id, "note": kept})
    elif given:
        remark(f"noted on {run_id}.")
    else:
        show_text("".join(f"{plain(line)}\n" for line in (kept or "no note.").splitlines()))


def delete(
    run_ids: Annotated[list[str], typer.Argument(help="Ids of runs.", metavar="RUN...")], now: Now = False
) -> None:
    """Delete runs and those under them; they can be restored for a while."""
    here = stages()
    gone: list[RunDeleted] = []
    with progress("deleting") as advance:
        for run_id in run_ids:
            gone.append(here.runs.delete(run_id, now=now))
            advance(now=f"deleted {run_id}")
    total = RunDeleted(
        runs=tuple(run_id for each in gone for run_id in each.runs),
        bytes_freed=sum(each.bytes_freed for each in gone),
        restorable_until_us=min(each.restorable_until_us for each in gone),
    )
    show_line(total, _fate(_runs(len(total.runs)), total.bytes_freed, total.restorable_until_us))


def restore(run_id: RunId) -> None:
    """Bring a deleted run back, with those under it that went with it."""
    back = stages().runs.restore(run_id)
    show_line(back, f"back: {_runs(len(back.runs))}." if back.runs else f"{run_id} was not deleted.")


def retention(
    days: Annotated[float, typer.Option(help="Days that deleted things can be restored; then they are erased.")] = -1.0,
) -> None:
    """How many days deleted runs, experiments and logged models of the project can be restored."""
    here = stages().experiments
    policy = here.retention() if days < 0 else here.set_retention(days)
    show_line(policy, f"deleted things can be restored for {amount(policy.days)} days.")


def list_experiments(
    filter: Annotated[str, typer.Option(help="Such as: name LIKE 'tune%' and tags.team = 'x'.")] = "",
    deleted: Deleted = False,
    limit: Annotated[int, typer.Option(help="Most experiments to show.")] = 50,
) -> None:
    """Experiments of the project, the newest first; or those that were deleted."""
    here = stages()
    view = View.DELETED if deleted else View.ACTIVE
    page = here.experiments.search(filter, view=view, limit=limit)
    rows = [(each.id, each.name, ago(each.updated_us), _tags(each.tags)) for each in page.items]
    columns = (Whole("id"), "name", "changed", "tags")
    show_table(page.items, "", columns, rows, partial(nothing, here, "such experiment", "sill experiments create NAME"))


def create_experiment(
    name: Annotated[str, typer.Argument(help="Its name.")],
    tag: Annotated[list[str], typer.Option(help="KEY=VALUE; may be given again.")] = [],  # noqa: B006
    artifacts: Annotated[
        str, typer.Option(help="Where its artifacts lie: a place the operator listed; this server when not given.")
    ] = "",
) -> None:
    """Make an experiment."""
    tags = dict(name_and_value(each, "--tag team=vision") for each in tag)
    made = stages().experiments.create(ExperimentSpec(name=name, tags=tags, artifact_location=artifacts))
    show_line(made, f"experiment {made.id}: {plain(made.name)}")


def change_experiment(
    experiment_id: ExperimentId,
    name: Annotated[str, typer.Option(help="A new name.")] = "",
    tag: Annotated[list[str], typer.Option(help="KEY=VALUE to set; may be given again.")] = [],  # noqa: B006
    no_tag: Annotated[list[str], typer.Option(help="KEY to take away; may be given again.")] = [],  # noqa: B006
) -> None:
    """Rename an experiment, set tags and take tags away."""
    if not (name or tag or no_tag):
        raise InvalidValue("nothing is to change.", fix="Give --name, --tag or --no-tag.")
    tags = dict(name_and_value(each, "--tag team=vision") for each in tag)
    change = ExperimentChange(name=name, set_tags=tags, delete_tags=tuple(no_tag))
    changed = stages().experiments.change(experiment_id, change)
    show_line(changed, f"experiment {changed.id}: {plain(changed.name)} {_tags(changed.tags)}".rstrip())


def delete_experiment(experiment_id: ExperimentId, now: Now = False) -> None:
    """Delete an experiment with its runs; it can be restored for a while."""
    with progress("deleting"):
        gone = stages().experiments.delete(experiment_id, now=now)
    what = f"experiment {gone.id} with {_runs(gone.runs)}"
    show_line(gone, _fate(what, gone.bytes_freed, gone.restorable_until_us))


def restore_experiment(experiment_id: ExperimentId) -> None:
    """Bring a deleted experiment back, with its runs."""
    with progress("restoring"):
        back = stages().experiments.restore(experiment_id)
    show_line(back, f"experiment {back.id}: {plain(back.name)} is back.")


def _fate(what: str, bytes_freed: int, until_us: int) -> str:
    if until_us:
        return f"deleted {what}; they can be restored until {when(until_us)}."
    return f"erased {what}: {size(bytes_freed)} freed."


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _shown(value: str | float | None) -> str:
    if value is None:
        return "–"
    text = amount(value) if isinstance(value, float) else str(value)
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_LENGTH_MAX else f"{line[: SHOWN_LENGTH_MAX - 1]}…"


def _tags(tags: dict[str, str]) -> str:
    return " ".join(f"{key}={_shown(value)}" for key, value in tags.items())
