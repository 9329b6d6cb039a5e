"""Lines of a table, and whether a goal is met."""

from collections.abc import Iterator, Sequence

from sill.scheduler.simulation.types import Report

HEAD = (
    "policy",
    "avg jct",
    "avg wait",
    "p50 wait",
    "p99 wait",
    "max wait",
    "slowdown",
    "util",
    "preempt",
    "lost h",
    "jain",
)


def rows(titles: Sequence[str], lines: Sequence[Sequence[object]]) -> Iterator[str]:
    """An aligned table."""
    table = [tuple(map(str, titles)), *(tuple(map(str, line)) for line in lines)]
    widths = [max(len(line[at]) for line in table) for at in range(len(titles))]
    for line in table:
        cells = [
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def line_of(report: Report) -> tuple[str, ...]:
    """What is always reported of a run."""
    seconds = (report.jct_mean_s, report.wait_mean_s, report.wait_p50_s, report.wait_p99_s, report.wait_max_s)
    return (
        report.policy,
        *(f"{value:,.0f}" for value in seconds),
        f"{report.slowdown_mean:.1f}",
        f"{report.utilisation:.3f}",
        f"{report.preemptions:,}",
        f"{report.lost_device_h:,.0f}",
        f"{report.fairness_jain:.2f}",
    )


def sizes(report: Report) -> Iterator[str]:
    """Waits by size class."""
    titles = (f"  {report.policy}: devices", "jobs", "avg wait", "p99 wait", "max wait")
    lines = [
        (
            f"  {each.least:g}" if each.least == each.most else f"  {each.least:g} to {each.most:g}",
            f"{each.jobs:,}",
            *(f"{value:,.0f}" for value in (each.wait_mean_s, each.wait_p99_s, each.wait_max_s)),
        )
        for each in report.by_size
    ]
    yield from rows(titles, lines)


class Goal(str):
    """The line that says whether a goal is met, which knows its cells for the table of all goals."""

    cells: tuple[str, ...]


TITLES = ("goal", "published", "asked for", "here", "")


def goal(what: str, value: float, limit: float, unit: str = "", *, least: bool = False, published: str = "") -> Goal:
    """One line: the goal, what was measured, met or by how much not.

    Args:
        least: the value is to be no lower than the limit; otherwise no higher.
        published: what others came to, with its unit.
    """
    is_met = value >= limit if least else value <= limit
    verdict = "MET" if is_met else f"MISSED by {abs(value - limit):,.3g}{unit}"
    asked, here = f"{'>=' if least else '<='} {limit:,.6g}{unit}", f"{value:,.6g}{unit}"
    line = Goal(f"goal: {what} {asked}: {here} {verdict}")
    line.cells = (what, published, asked, here, verdict)
    return line
