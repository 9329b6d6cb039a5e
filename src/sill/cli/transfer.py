"""import, export: everything from an MLflow store into the project, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from sill.cli.client import client
from sill.cli.options import add
from sill.cli.output import Advance, progress, remark, show_table, size
from sill.transfer.types import Report

PANEL = "Work"
SHOWN_MAX = 50
"""Things that could not be taken that are printed; `--json` has more."""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    import_ = typer.Typer(help="Bring in what other tools have kept.")
    into = ("sill import mlflow http://tracking:5000", "sill import mlflow mlflow.db --artifacts mlartifacts")
    add(import_, import_mlflow, *into, name="mlflow")
    app.add_typer(import_, name="import", rich_help_panel=PANEL)
    export = typer.Typer(help="Take out what other tools can read.")
    add(export, export_mlflow, "sill export mlflow mlruns", "sill export mlflow http://tracking:5000", name="mlflow")
    app.add_typer(export, name="export", rich_help_panel=PANEL)


Journal = Annotated[
    Path | None,
    typer.Option(
        help="Where it is noted what is done and what became of what; in the user's state folder when not given."
    ),
]


def import_mlflow(
    place: Annotated[str, typer.Argument(help="A server's address, a folder with mlruns, or a SQLite file.")],
    artifacts: Annotated[
        Path | None, typer.Option(help="For a folder or file: where its server kept files (--artifacts-destination).")
    ] = None,
    journal: Journal = None,
) -> None:
    """Bring experiments, runs, series, files and models from MLflow into the project. Given again, it goes on where it was."""
    from sill.transfer.opening import import_mlflow as bring

    with progress(f"importing {place}") as advance:
        report = bring(client(), place, artifacts=artifacts, journal=journal, tell=_tell(advance))
    _show(report)


def export_mlflow(
    place: Annotated[str, typer.Argument(help="A server's address, or a folder that is not there yet.")],
    journal: Journal = None,
) -> None:
    """Bring everything MLflow knows from the project to an MLflow server or folder. Given again, it goes on where it was."""
    from sill.transfer.opening import export_mlflow as bring

    with progress(f"exporting to {place}") as advance:
        report = bring(client(), place, journal=journal, tell=_tell(advance))
    _show(report)


def _tell(advance: Advance) -> Callable[[str], None]:
    return lambda line: advance(now=line)


def _show(report: Report) -> None:
    rows = [(name, f"{count:,}") for name, count in report.counts.items()]
    rows.append(("bytes of files", size(report.bytes)))
    show_table(report, f"{report.source} → {report.target} in {report.seconds:.1f} s", ("what", "count"), rows, "")
    for left in report.left_out[:SHOWN_MAX]:
        remark(f"not taken: {left.kind} {left.name}: {left.why}", style="yellow")
    if len(report.left_out) > SHOWN_MAX:
        remark(f"… and {report.counts['left out'] - SHOWN_MAX:,} more; --json has them.", style="yellow")
    remark(f"what became of what: {report.journal}")
