"""Simulations as a page: waits of each policy as curves (SVG) above the table of its numbers. No script, nothing fetched."""

from collections.abc import Sequence
from html import escape
from math import log10

from sill.scheduler.simulation.types import Outcome, Report

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 40
POINTS = 200
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#0e7490", "#bf3989", "#57606a")
LEAST_S = 1.0
"""Shorter waits are drawn as this: the axis is logarithmic."""
STYLE = (
    "body{font:15px system-ui;margin:2rem;max-width:60rem}"
    "td,th{padding:.2rem .7rem;text-align:right}th{border-bottom:1px solid}"
)


def page(
    title: str, runs: Sequence[tuple[Outcome, Report]], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """The whole page."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1>{waits(runs)}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></html>\n"
    )


def waits(runs: Sequence[tuple[Outcome, Report]]) -> str:
    """What part of the jobs waited at most so long, for each policy."""
    most = max((record.wait_s for outcome, _ in runs for record in outcome.records), default=LEAST_S)
    decades = max(int(log10(max(most, LEAST_S * 10))) + 1, 1)
    parts = [_axes(decades)]
    for number, (outcome, _) in enumerate(runs):
        ordered = sorted(max(record.wait_s, LEAST_S) for record in outcome.records)
        if not ordered:
            continue
        places = [round(at * (len(ordered) - 1) / (POINTS - 1)) for at in range(POINTS)]
        points = " ".join(
            f"{_x(ordered[place], decades):.1f},{_y((place + 1) / len(ordered)):.1f}" for place in dict.fromkeys(places)
        )
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = TOP + 18 + 18 * number
        parts.append(f'<text x="{LEFT + 12}" y="{at}" fill="{colour}">{escape(outcome.policy)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui" font-size="13" role="img" aria-label="waits by policy">{"".join(parts)}</svg>'
    )


def _axes(decades: int) -> str:
    lines = []
    for power in range(decades + 1):
        x = _x(10.0**power, decades)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#d0d7de"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10**power:,} s</text>')
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(part)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#d0d7de"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{part:.0%}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "".join(lines) + f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">waited at most</text>'


def _x(seconds: float, decades: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * log10(max(seconds, LEAST_S)) / decades


def _y(part: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part
