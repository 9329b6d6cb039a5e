"""up, open, apply, top, doctor, backup, restore: the platform as a whole."""

import os
import subprocess
import sys
import time
import webbrowser
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from sill.api.types import Overview
from sill.cli.client import client
from sill.cli.layout import amount
from sill.cli.options import add
from sill.cli.output import Options, console, progress, remark, show_json, show_line, show_table, size
from sill.core.errors import NotFound
from sill.sdk.applying import apply as apply_project
from sill.sdk.platform import Platform
from sill.sdk.serving import Watch, between

PANEL = "Platform"
SERVING_S = 1.0
"""Seconds between the two looks that a rate is made of."""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    add(app, up, "sill up", "sill up --port 8000 --home ~/lab", panel=PANEL, is_about_project=False)
    add(app, open_console, "sill open", "sill open --print", name="open", panel=PANEL, is_about_project=False)
    add(
        app,
        apply,
        "sill apply",
        "sill apply shop/project.py",
        "sill apply shop.yaml",
        panel=PANEL,
        is_about_project=False,
    )
    add(app, top, "sill -p shop top", "sill -p shop top --every 0", "sill -p shop top --serving --once", panel=PANEL)
    add(app, doctor, "sill doctor", panel=PANEL, is_about_project=False)
    add(app, backup, "sill backup sill-2026-11-21.tar", panel=PANEL, is_about_project=False)
    restored = "SILL_HOME=~/restored sill restore sill-2026-11-21.tar"
    add(app, restore, restored, panel=PANEL, is_about_project=False)


def up(
    port: Annotated[int, typer.Option(help="First of three ports.", envvar="SILL_PORT")] = 7455,
    home: Annotated[str, typer.Option(help="Where everything lies; ~/.sill when not given.", envvar="SILL_HOME")] = "",
) -> None:
    """Start the platform: API and console on the port, inference on the next. Ctrl-C stops it."""
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
    """Make a project's declarations so: tables, features, training, endpoints, monitors. Twice changes nothing.

    The file names its project itself. What it prints goes to standard error.
    """
    with progress(f"applying {path}") as advance, redirect_stdout(sys.stderr):
        told: list[str] = []

        def say(line: str) -> None:
            told.append(line)
            advance(now=line)

        report = apply_project(client(), path, say)
    for line in told:
        if line.startswith("not sent"):
            remark(line)
    rows = [(change.kind, change.name, change.change) for change in report.changes]
    show_table(report, f"project {report.project}", ("kind", "name", "change"), rows, "the project declares nothing.")


def top(
    every: Annotated[float, typer.Option(help="Seconds between looks; 0 to look once.", min=0)] = 2.0,
    serving: Annotated[
        bool, typer.Option("--serving", help="Instead, what each endpoint answers: rates, latency, waiting, memory.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="Look once.")] = False,
) -> None:
    """The loop at one look, again and again: tables, runs, models, endpoints, incidents, cost. Ctrl-C ends it."""
    is_once = once or not every or Options.as_json or not console.is_terminal
    if serving:
        show_serving(Watch(client()), every or SERVING_S, is_once)
        return
    platform = Platform(client())
    while True:
        overview = platform.overview()
        if Options.as_json:
            show_json(overview)
            return
        if not is_once:
            console.clear()
        show_overview(overview)
        if is_once:
            return
        remark(f"looked at {time.strftime('%H:%M:%S')}, again in {every:g} s; Ctrl-C ends it")
        time.sleep(every)


def show_serving(watch: Watch, every_s: float, is_once: bool) -> None:
    """Each endpoint between two looks at the inference plane."""
    before = watch.look()
    while True:
        time.sleep(min(every_s, SERVING_S) if is_once else every_s)
        now = watch.look()
        found, before = between(before, now), now
        if not is_once:
            console.clear()
        rows = [
            (
                each.endpoint,
                each.version,
                each.revision,
                f"{each.requests_per_s:.1f}",
                f"{each.errors_per_s:.1f}",
                f"{each.p50_ms:g}",
                f"{each.p99_ms:g}",
                each.waiting,
                f"{each.batch_rows:.1f}",
                size(each.memory_bytes),
            )
            for each in found
        ]
        columns = (
            "endpoint",
            "version",
            "revision",
            "req/s",
            "err/s",
            "p50 ms",
            "p99 ms",
            "waiting",
            "batch",
            "memory",
        )
        show_table(found, "", columns, rows, "no endpoint is answered in this project.")
        if is_once:
            return
        remark(f"looked at {time.strftime('%H:%M:%S')}, again in {every_s:g} s; Ctrl-C ends it")


def show_overview(overview: Overview) -> None:
    """The overview, a short table for each stage."""
    going = f"{overview.runs_going} going, {overview.runs_waiting} waiting"
    console.print(f"[bold]{overview.project}[/]   runs: {going}   {overview.predictions} predictions", soft_wrap=True)
    for title, rows in summarise(overview):
        if rows:
            show_table(None, f"\n{title}", ("name", "state", "detail"), rows, "", has_prose=True)
    cost = overview.cost
    used = f"{amount(cost.usd)} USD · {amount(cost.energy_wh)} Wh · {amount(cost.carbon_g)} gCO2e"
    console.print(f"\ncost {used} (±{cost.uncertainty:.0%}, {cost.energy_source})", soft_wrap=True)


def summarise(overview: Overview) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The overview as titled rows of (name, state, detail)."""
    return [
        ("tables", [(each.name, f"{each.rows} rows", f"{len(each.columns)} columns") for each in overview.tables]),
        ("runs", [(each.name or each.id, each.state.value, each.reason) for each in overview.runs[:8]]),
        ("models", [(each.name, f"version {each.latest}", _aliases(each.aliases)) for each in overview.models]),
        (
            "endpoints",
            [
                (
                    each.name,
                    f"version {live.model_version} live" if (live := each.live()) else "nothing live",
                    f"version {rolling.model_version} {rolling.state.value}: {rolling.reason}"
                    if (rolling := each.rolling())
                    else "",
                )
                for each in overview.endpoints
            ],
        ),
        (
            "open incidents",
            [(each.endpoint, each.kind.value, each.summary) for each in overview.incidents if each.is_open],
        ),
        ("triggers", [(each.name, f"fired {each.fired}", each.reason) for each in overview.triggers]),
    ]


def doctor() -> None:
    """Look at everything once: what is well, what is not, what to do. The exit code is 1 if something is broken."""
    with progress("looking at everything"):
        findings = Platform(client()).doctor()
    rows = [(each.status, each.name, f"{each.message} {f'→ {each.fix}' if each.fix else ''}") for each in findings]
    show_table(findings, "", ("", "what", "how it is"), rows, "nothing was looked at.", has_prose=True)
    if any(finding.status == "failure" for finding in findings):
        raise typer.Exit(1)


def backup(
    path: Annotated[Path, typer.Argument(help="The file to write; it may not exist yet.")],
) -> None:
    """Write every row, every blob and the keys into one file. Keep it as safe as the home itself."""
    with progress(f"writing {path}") as advance:
        written = Platform(client()).backup(path, on_bytes=lambda count: advance(now=f"writing {path}: {size(count)}"))
    show_line({"path": str(path), "size_bytes": written}, f"{path}: {size(written)}. It holds the keys: keep it safe.")


def restore(
    path: Annotated[Path, typer.Argument(help="A file that `sill backup` wrote.")],
) -> None:
    """Fill an empty SILL_HOME (or empty big stores) from a backup. No Sill may run on it."""
    if not path.is_file():
        raise NotFound(f"there is no file {str(path)!r}.", fix="Give the path of a backup.")
    with progress(f"restoring {path}"):
        options = ["--json"] if Options.as_json else []
        ended = subprocess.run([sys.executable, "-m", "sill.api.backup", str(path), *options], check=False)
    raise typer.Exit(ended.returncode)


def _aliases(aliases: dict[str, int]) -> str:
    return ", ".join(f"{name}={version}" for name, version in aliases.items())
