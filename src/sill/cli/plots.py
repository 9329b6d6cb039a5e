"""Simulations as a page: use and waiting over time and waits as curves (SVG) above the table of numbers. No script, nothing
fetched."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from math import ceil, log10
from typing import NamedTuple

from sill.scheduler.simulation.report import SIZES
from sill.scheduler.simulation.timeline import Span
from sill.scheduler.simulation.types import Outcome, Record, Report

WIDTH, HEIGHT = 720, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 10, 40
POINTS = 200
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#0e7490", "#bf3989", "#57606a")
LEAST_S = 1.0
"""Shorter waits are drawn as this: the axis is logarithmic."""
STYLE = (
    ":root{color-scheme:light dark}body{font:15px system-ui;margin:2rem auto;max-width:80rem;padding:0 1rem}"
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(30rem,100%),1fr));gap:2rem;margin-top:2rem}"
    "figure{margin:0}figcaption{font-weight:600}svg{width:100%;height:auto;max-width:720px}"
    ".key{margin:.2rem 0;font-size:.9rem}.key span{margin-right:1rem;white-space:nowrap}.table{overflow-x:auto}"
    "td,th{padding:.2rem .7rem;text-align:right;white-space:nowrap}th{border-bottom:1px solid}"
)
LONGS = tuple(
    (count * length, f"{count} {unit}")
    for unit, length, counts in (
        ("s", 1.0, (1, 10)),
        ("min", 60.0, (1, 10)),
        ("h", 3_600.0, (1, 10)),
        ("d", 86_400.0, (1, 10, 100, 1_000, 10_000, 100_000)),
    )
    for count in counts
)
"""Waits that are named on the axis."""
TIMES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


class Run(NamedTuple):
    """One policy's run, in all that is drawn and told of it."""

    outcome: Outcome
    report: Report
    spans: Sequence[Span]


class Curve(NamedTuple):
    """A named line of (across, up) points, each 0 to 1."""

    name: str
    points: Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """What an axis says: labelled places between 0 and 1, and what is counted along it."""

    ticks: Sequence[tuple[float, str]]
    title: str = ""


def page(title: str, runs: Sequence[Run], columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The whole page."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>"
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f'<div class="figures">{"".join(_figures(runs))}</div></html>\n'
    )


def _figures(runs: Sequence[Run]) -> Iterator[str]:
    """Over time, then waits: all jobs by policy, and by size for each policy."""
    until_s = max((run.spans[-1].start_s for run in runs if run.spans), default=0.0) or 1.0
    across = Axis([(at / until_s, text) for at, text in _time_ticks(until_s)], "since the first job came")
    used = [Curve(run.outcome.policy, _over(run.spans, until_s, 1.0, "used")) for run in runs]
    yield figure("Devices used (cpus where there are none), mean of each span", used, across, PARTS)
    ticks = _count_ticks(max((span.waiting for run in runs for span in run.spans), default=0.0))
    waiting = [Curve(run.outcome.policy, _over(run.spans, until_s, ticks[-1], "waiting")) for run in runs]
    yield figure("Jobs that waited", waiting, across, Axis([(at / ticks[-1], f"{at:,.0f}") for at in ticks]))
    most_s = max((record.wait_s for run in runs for record in run.outcome.records), default=0.0)
    last = next((at for at, _ in LONGS if at >= most_s), LONGS[-1][0])
    waited = Axis([(_long(at, last), text) for at, text in LONGS if at <= last], "waited at most")
    every = [Curve(run.outcome.policy, _waits(run.outcome.records, last)) for run in runs]
    yield figure("Part of all jobs that waited at most so long", every, waited, PARTS)
    for run in runs:
        sizes = [Curve(name, _waits(records, last)) for name, records in _by_size(run.outcome.records)]
        if len(sizes) > 1:
            yield figure(f"{run.outcome.policy}: waits by devices a job asked for", sizes, waited, PARTS)


def figure(title: str, curves: Sequence[Curve], across: Axis, up: Axis) -> str:
    """Lines over a grid, with their names above."""
    drawn, names = [], []
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in curve.points)
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        names.append(f'<span><b style="color:{colour}">—</b> {escape(curve.name)}</span>')
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><p class="key">{"".join(names)}</p>'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui" font-size="12" '
        f'fill="currentColor" role="img" aria-label="{escape(title)}">{_grid(across, up)}{"".join(drawn)}</svg></figure>'
    )


def _grid(across: Axis, up: Axis) -> str:
    lines = []
    for at, text in across.ticks:
        x = _x(at)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#8886"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{text}</text>')
    for at, text in up.ticks:
        y = _y(at)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#8886"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    return f'{"".join(lines)}<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{across.title}</text>'


PARTS = Axis([(part, f"{part:.0%}") for part in (0.0, 0.25, 0.5, 0.75, 1.0)])


def _over(spans: Sequence[Span], until_s: float, most: float, field: str) -> list[tuple[float, float]]:
    return [(span.start_s / until_s, getattr(span, field) / most) for span in spans]


def _waits(records: Sequence[Record], last_s: float) -> list[tuple[float, float]]:
    """What part waited at most so long, as steps."""
    ordered = sorted(record.wait_s for record in records)
    if not ordered:
        return []
    places = dict.fromkeys(round(at * (len(ordered) - 1) / (POINTS - 1)) for at in range(POINTS))
    found, part = [], 0.0
    for place in places:
        long = _long(ordered[place], last_s)
        found += [(long, part), (long, part := (place + 1) / len(ordered))]
    return found


def _long(seconds: float, last_s: float) -> float:
    """Place of a wait on a logarithmic axis that ends at `last_s`."""
    return log10(max(seconds, LEAST_S)) / log10(last_s)


def _by_size(records: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """Records by the devices a job asked for; sizes nobody asked for are left out."""
    for least, above in pairwise((*SIZES, float("inf"))):
        some = [record for record in records if least <= record.devices < above]
        if some:
            sizes = sorted({some[0].devices, *(record.devices for record in some)})
            yield f"{sizes[0]:g}" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g}", some


def _time_ticks(until_s: float) -> list[tuple[float, str]]:
    """About six round times."""
    length, unit = next((each for each in TIMES if until_s >= 2 * each[0]), TIMES[-1])
    step = _round_step(until_s / length / 6)
    return [(at * step * length, f"{at * step:g} {unit}") for at in range(int(until_s / length / step + 1e-9) + 1)]


def _count_ticks(most: float) -> list[float]:
    """Round numbers from 0 on, at least two; the last is not below `most`."""
    step = max(_round_step(most / 5), 1.0) if most else 1.0
    return [at * step for at in range(max(ceil(most / step - 1e-9), 1) + 1)]


def _round_step(least: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** (ceil(log10(least)) - 1)
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _x(part: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(max(part, 0.0), 1.0)


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(max(part, 0.0), 1.0)
