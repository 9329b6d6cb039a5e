"""up, open, apply, doctor, backup, restore, top: the platform as a whole."""

import os
import sys
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sill.api.types import Overview
from sill.cli.client import client
from sill.cli.output import Options, console, progress, show_json, show_line, show_table, size, text
from sill.core.errors import NotFound
from sill.sdk.applying import apply as apply_project
from sill.sdk.platform import Platform


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (up, open_console, apply, top, doctor, backup, restore):
        app.command(name="open" if command is open_console else command.__name__)(command)


def up(
    port: Annotated[int, typer.Option(help="First of three ports.", envvar="SILL_PORT")] = 7455,
    home: Annotated[str, typer.Option(help="Where everything lies.", envvar="SILL_HOME")] = "",
) -> None:
    """Start the platform: API and console on the port, inference on the next."""
    environment = {**os.environ, "SILL_PORT": str(port)}
    if home:
        environment["SILL_HOME"] = home
    os.execve(sys.executable, [sys.executable, "-m", "sill.api"], environment)


def open_console(
    print_only: Annotated[bool, typer.Option("--print", help="Print the link instead of opening a browser.")] = False,
) -> None:
    """Open the console in a browser, logged in by a one-use link."""
    link = Platform(client()).login_link()
    if print_only or Options.as_json or not webbrowser.open(link.url):
        show_line(link, link.url)
    else:
        show_line(link, "opened; the link is good once, within a minute.")


def apply(
    path: Annotated[Path, typer.Argument(help="A project file: Python or YAML.")] = Path("project.py"),
) -> None:
    """Make a project's declarations so: tables, features, training, endpoints, monitors."""
    if not path.exists():
        raise NotFound(f"there is no project file {path}.", fix="Give the path of one: sill apply project.py")
    with progress(f"applying {path}"):
        report = apply_project(client(), path)
    rows = [(change.kind, change.name, change.change) for change in report.changes]
    show_table(report, f"project {report.project}", ("kind", "name", "change"), rows, "the project declares nothing.")


def top(
    every: Annotated[float, typer.Option(help="Seconds between looks; 0 to look once.")] = 2.0,
) -> None:
    """The loop at one look, again and again: tables, runs, models, endpoints, incidents, cost."""
    platform = Platform(client())
    while True:
        overview = platform.overview()
        if Options.as_json:
            show_json(overview)
            return
        if every and console.is_terminal:
            console.clear()
        going = f"{overview.runs_going} going, {overview.runs_waiting} waiting"
        console.print(f"[bold]{overview.project}[/]   {going}   {overview.predictions} predictions")
        for name, rows in summarise(overview):
            show_table(None, name, ("name", "state", "detail"), rows, f"{name}: none")
        cost = overview.cost
        source = f"±{cost.uncertainty:.0%}, {cost.energy_source}"
        console.print(f"cost {cost.usd:.4f} USD · {cost.energy_wh:.3f} Wh · {cost.carbon_g:.2f} gCO2e ({source})")
        if not every or not console.is_terminal:
            return
        time.sleep(every)


def summarise(overview: Overview) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The overview as titled rows of (name, state, detail)."""
    return [
        ("tables", [(each.name, f"{each.rows} rows", f"{len(each.columns)} columns") for each in overview.tables]),
        ("runs", [(each.name or each.id, each.state.value, each.reason) for each in overview.runs[:8]]),
        (
            "endpoints",
            [
                (
                    each.name,
                    f"version {live.model_version}" if (live := each.live()) else "none",
                    f"{len(each.revisions)} revisions",
                )
                for each in overview.endpoints
            ],
        ),
        ("incidents", [(each.endpoint, each.kind.value, each.summary) for each in overview.incidents if each.is_open]),
        ("triggers", [(each.name, f"fired {each.fired}", each.reason) for each in overview.triggers]),
    ]


def doctor() -> None:
    """Look at everything once: what is well, what is not, what to do."""
    findings = Platform(client()).doctor()
    rows = [(finding.status, finding.name, finding.message, finding.fix) for finding in findings]
    show_table(findings, "doctor", ("", "what", "how it is", "what to do"), rows, "nothing was looked at.")
    if any(finding.status == "failure" for finding in findings):
        raise typer.Exit(1)


def backup(
    path: Annotated[Path, typer.Argument(help="The file to write.")],
) -> None:
    """Write every row, every blob and the keys into one file. Keep it as safe as the home itself."""
    with progress(f"writing {path}") as advance:
        written = Platform(client()).backup(path, on_bytes=lambda count: advance(0, f"writing {path}: {size(count)}"))
    show_line({"path": str(path), "size_bytes": written}, f"{path}: {size(written)}. It holds the keys: keep it safe.")


def restore(
    path: Annotated[Path, typer.Argument(help="A file that `sill backup` wrote.")],
) -> None:
    """Fill an empty SILL_HOME (or empty big stores) from a backup. No Sill may run on it."""
    if not path.exists():
        raise NotFound(f"there is no file {text(path)}.", fix="Give the path of a backup.")
    os.execv(sys.executable, [sys.executable, "-m", "sill.api.backup", str(path)])
