"""simulate, whatif: what policies make of a workload, and what would be otherwise here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sill.cli.client import stages
from sill.cli.layout import amount
from sill.cli.options import add
from sill.cli.output import Options, progress, remark, show_json, show_table
from sill.cli.queues import quantities
from sill.cli.spans import span_s
from sill.core.errors import InvalidValue

if TYPE_CHECKING:  # the scheduler brings numpy, which no other command needs
    from sill.cli.plots import Run
    from sill.scheduler.simulation.types import Bill, Report, WhatIfReport, Workload
    from sill.scheduler.state import State
    from sill.scheduler.types import Action, Policy

PANEL = "Runs"
COLUMNS = ("policy", "jobs", "wait mean", "p50", "p99", "JCT mean", "makespan", "used", "stopped", "lost", "fair")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    asked = (
        "sill whatif --add a100=8 --now",
        "sill whatif --policy sill --last 7d",
        "sill whatif --add cpus=16 --policy easy",
    )
    add(app, whatif, *asked, panel=PANEL, is_about_project=False)
    simulated = (
        "sill simulate philly --policy sill,fifo-skip",
        "sill simulate --jobs jobs.csv --nodes 4 --html waits.html",
    )
    add(app, simulate, *simulated, panel=PANEL, is_about_project=False)


def whatif(
    added: Annotated[str, typer.Option("--add", help="Machines that come, such as a100=8 or cpus=16,memory=64g.")] = "",
    policy: Annotated[str, typer.Option(help="The policy that decides; the present one when not given.")] = "",
    last: Annotated[str, typer.Option(help="Simulate again the runs of so long until now, such as 7d.")] = "",
    now: Annotated[bool, typer.Option("--now", help="What waits and runs now; so it is without --last.")] = False,
) -> None:
    """What waits, cost and carbon would be with more machines or another policy; nothing is changed."""
    from sill.scheduler.simulation.types import WhatIf

    if now and last:
        raise InvalidValue("--now and --last are two questions.", fix="Ask one.")
    if not added and not policy:
        raise InvalidValue("nothing would be otherwise.", fix="Give --add, --policy or both.")
    with progress("playing it through"):
        told = stages().queues.what_if(
            WhatIf(add=quantities(added, "--add"), policy=policy, last_s=span_s(last, "--last") if last else 0.0)
        )
    show_table(
        told, "", ("what", "as it is", "as it would be", "difference"), _differences(told), "no run waits or runs."
    )
    if not Options.as_json:
        rows = [
            (each.name, each.jobs, _seconds(each.wait_before_s), _seconds(each.wait_after_s)) for each in told.queues
        ]
        show_table(told, "", ("queue", "runs", "wait", "would be"), rows, "")
        if told.waited_mean_s:
            remark(f"The runs really waited {_seconds(told.waited_mean_s)} on average.")


def simulate(
    trace: Annotated[str, typer.Argument(help="A public trace: philly, itp-01 … itp-10, muri-1 … muri-4.")] = "",
    jobs: Annotated[Path | None, typer.Option(help="CSV of jobs: submitted_s, runtime_s, and what each needs.")] = None,
    policy: Annotated[str, typer.Option(help="Policies to compare, with commas.")] = "sill,fifo-skip",
    nodes: Annotated[int, typer.Option(help="Machines; 0 for as many as the trace was published for.")] = 0,
    per_node: Annotated[int, typer.Option(help="Accelerators of a machine (with --jobs).")] = 8,
    cpus: Annotated[float, typer.Option(help="Cores of a machine (with --jobs).")] = 64.0,
    memory: Annotated[float, typer.Option(help="Memory of a machine in GiB (with --jobs).")] = 512.0,
    html: Annotated[Path | None, typer.Option(help="Write a page: use, waiting jobs and waits as curves.")] = None,
) -> None:
    """Run policies on a workload, by the function that decides for the daemon; it needs no platform."""
    from sill.cli.plots import page
    from sill.cli.workloads import from_table, from_trace
    from sill.scheduler.policies import policy_named

    if bool(trace) == bool(jobs):
        raise InvalidValue("give a trace or --jobs FILE.", fix="sill simulate --jobs jobs.csv")
    policies = [policy_named(name.strip()) for name in policy.split(",")]
    workload = from_table(jobs, nodes or 1, per_node, cpus, memory) if jobs else from_trace(trace, nodes)
    runs = [_simulated(workload, each) for each in policies]
    rows = [_row(run.report) for run in runs]
    if html:
        html.write_text(page(f"{workload.name}: {len(workload.jobs):,} jobs", runs, COLUMNS, rows), encoding="utf-8")
    if Options.as_json:
        show_json([run.report for run in runs])
        return
    show_table(None, "", COLUMNS, rows, "there are no jobs.")
    left = sum(run.report.left for run in runs)
    if left:
        remark(f"{left} jobs never ended: they ask for more than there is.", style="red")


def _simulated(workload: "Workload", policy: "Policy") -> "Run":
    from sill.cli.plots import Run
    from sill.scheduler.simulation.report import report
    from sill.scheduler.simulation.simulate import Simulation
    from sill.scheduler.simulation.timeline import Timeline

    many, step = len(workload.jobs), max(len(workload.jobs) // 200, 1)
    timeline = Timeline()
    with progress(f"{policy.name}: {many:,} jobs") as advance:

        def observe(state: "State", actions: "list[Action]") -> None:
            timeline(state, actions)
            if state.ends % step == 0:
                advance(now=f"{policy.name}: {state.ends:,} of {many:,} jobs")

        outcome = Simulation(workload, policy, observe=observe).run()
    return Run(outcome, report(outcome), timeline.spans())


def _row(told: "Report") -> tuple[str, ...]:
    times = (told.wait_mean_s, told.wait_p50_s, told.wait_p99_s, told.jct_mean_s, told.makespan_s)
    return (
        told.policy,
        f"{told.jobs:,}",
        *map(_seconds, times),
        f"{told.utilisation:.0%}",
        f"{told.preemptions:,}",
        f"{told.lost_device_h:.1f} h",
        f"{told.fairness_jain:.3f}",
    )


def _differences(told: "WhatIfReport") -> list[tuple[str, str, str, str]]:
    before, after = told.before, told.after
    if not before.jobs and not after.jobs:
        return []
    times = (
        ("wait, mean", before.wait_mean_s, after.wait_mean_s),
        ("wait, p50", before.wait_p50_s, after.wait_p50_s),
        ("wait, p99", before.wait_p99_s, after.wait_p99_s),
        ("completion, mean", before.jct_mean_s, after.jct_mean_s),
        ("until all is done", before.makespan_s, after.makespan_s),
    )
    rows = [(what, _seconds(first), _seconds(second), _change(first, second)) for what, first, second in times]
    rows.append(("runs that end", str(before.jobs), str(after.jobs), f"{after.jobs - before.jobs:+}"))
    rows.append(("machines used", f"{before.utilisation:.0%}", f"{after.utilisation:.0%}", ""))
    rows.append(("runs stopped", str(before.preemptions), str(after.preemptions), ""))
    rows += _bills(told.bill_before, told.bill_after)
    if told.added_usd_per_h:
        rows.append(("added machines", "", f"{amount(told.added_usd_per_h)} USD/h", ""))
    return rows


def _bills(first: "Bill", second: "Bill") -> list[tuple[str, str, str, str]]:
    units = (("cost", "usd", "USD"), ("energy", "energy_kwh", "kWh"), ("carbon", "carbon_kg", "kgCO2e"))
    return [
        (what, f"{amount(was)} {unit}", f"{amount(would)} {unit}", _change(was, would))
        for what, field, unit in units
        for was, would in [(getattr(first, field), getattr(second, field))]
    ]


def _change(first: float, second: float) -> str:
    return f"{second / first - 1:+.0%}" if first else ""


def _seconds(seconds: float) -> str:
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"
