"""The results file as Markdown tables and a picture, as `docs/benchmarks.md` shows them.

python -m bench.inference report RESULTS.json                       prints the tables
python -m bench.inference report RESULTS.json docs/benchmarks.md    puts them between their marks there, and the picture beside
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from bench.inference.asking import CONNECTIONS
from bench.inference.goals import MANY, Goal, goals
from bench.inference.questions import JSON, PROTOCOLS
from bench.inference.results import SILL, Figure, ModelResults, Results, Served, read

BAR_PX, LINE_PX, NAMES_PX, WIDE_PX, TITLE_PX = 400, 20, 230, 800, 34
BEGIN, END, PICTURE = "<!-- inference: begin -->", "<!-- inference: end -->", "inference.svg"
OURS, THEIRS = "#0b7285", "#adb5bd"
_HEADS = [f"c={connections}" for connections in CONNECTIONS]
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" aria-labelledby="title">
  <title id="title">{title}</title>
  <style>text {{ font: 12px system-ui, sans-serif; fill: #57606a; }} .name {{ font-weight: 600; fill: #1f2328; }}</style>"""


def main(words: list[str]) -> None:
    """Print the tables of a results file, or put them into a page that has the marks."""
    results = read(Path(words[0]))
    text = "\n".join(tables(results))
    if len(words) == 1:
        print(text)
        return
    page = Path(words[1])
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
    page.with_name(PICTURE).write_text(picture(results))


def told(goal: Goal) -> str:
    """A goal as one line."""
    wanted = f"{'at most' if goal.is_most else 'at least'} {goal.wanted:g}"
    verdict = "met" if goal.is_met else "MISSED"
    return f"goal  {goal.what}, c={goal.connections}: {wanted} {goal.unit} wanted, {goal.found:.3g} found: {verdict}"


def tables(results: Results) -> Iterator[str]:
    """Runs, every figure, and the goals."""
    yield "```text"
    yield from results.taken
    yield "```"
    for name, found in results.models.items():
        yield from _table(name, found)
    yield from ("", f"| goal | wanted | {' | '.join(_HEADS)} |", "|" + "---|" * (len(CONNECTIONS) + 2))
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for goal in goals(results):
        bound = f"{'≤' if goal.is_most else '≥'} {goal.wanted:g} {goal.unit}"
        cell = f"{goal.found:.3g}" if goal.is_met else f"**{goal.found:.3g}**"
        rows.setdefault((goal.what, bound), {})[goal.connections] = cell
    for (what, bound), cells in rows.items():
        yield f"| {what} | {bound} | {' | '.join(cells.get(one, '') for one in CONNECTIONS)} |"


def _table(model: str, found: ModelResults) -> Iterator[str]:
    direct = found.direct
    alone = f"ONNX Runtime alone needs {direct.row_ms * 1e3:,.0f} µs for a row, and gives {direct.per_s:,.0f} rows/s"
    yield from ("", f"**{model}**: {alone} with its best batch ({direct.best}).", "")
    yield f"| server | protocol | {' | '.join(_HEADS)} | p50 / p99 ms, c=1 | c={MANY} | CPU µs | MB | cold s |"
    yield "|" + "---|" * (len(CONNECTIONS) + 7)
    for server in found.servers.values():
        for protocol in PROTOCOLS:
            if server.figure(protocol, MANY):
                yield _row(server, protocol)
    for server in found.servers.values():
        for protocol, why in server.refused.items():
            yield f"\n{server.title} refuses {protocol}: `{why}`"
    for name, why in found.missing.items():
        yield f"\n{name} was not measured: `{why}`"


def _row(server: Served, protocol: str) -> str:
    """Requests a second by connections, and in brackets how many times as fast Sill was beside it."""
    every = [server.figure(protocol, connections) for connections in CONNECTIONS]
    cells = [_cell(one) for one in every]
    times = [f"{one.p50_ms:.2f} / {one.p99_ms:.2f}" if one else "" for one in (every[0], every[-1])]
    cpu = f"{every[-1].cpu_us:,.0f}" if every[-1] else ""
    weight = (f"{server.memory_mb:,.0f}", f"{server.cold_s:.1f}")
    return f"| {' | '.join((server.title, protocol, *cells, *times, cpu, *weight))} |"


def _cell(one: Figure | None) -> str:
    if one is None:
        return ""
    if not one.per_s:
        return "broke down"
    return f"{one.per_s:,.0f}" + (f" ({one.ratio:.1f}×)" if one.ratio else "")


def picture(results: Results) -> str:
    """Bars of requests a second in JSON with many connections, a group for each model, longest on top."""
    lines, at = [], 0
    for name, found in results.models.items():
        at += TITLE_PX
        lines.append(f'<text class="name" x="0" y="{at - 10}">{escape(name)}, JSON, {MANY} connections</text>')
        bars = _bars(found)
        for which, title, per_s in bars:
            long = BAR_PX * per_s / bars[0][2]
            colour, middle = OURS if which == SILL else THEIRS, at + LINE_PX * 0.7
            lines += [
                f'<text x="{NAMES_PX - 8}" y="{middle}" text-anchor="end">{escape(title)}</text>',
                f'<rect x="{NAMES_PX}" y="{at + 3}" width="{max(long, 1):.1f}" height="{LINE_PX - 6}" fill="{colour}"/>',
                f'<text x="{NAMES_PX + long + 6:.1f}" y="{middle}">{per_s:,.0f}/s</text>',
            ]
            at += LINE_PX
    title = f"Requests a second in JSON with {MANY} connections, Sill and other servers."
    return "\n  ".join((HEAD.format(wide=WIDE_PX, high=at + 8, title=title), *lines)) + "\n</svg>\n"


def _bars(found: ModelResults) -> list[tuple[str, str, float]]:
    """Key, title and requests a second of each server, the fastest first. A peer's bar is Sill's divided by how many
    times as fast Sill was beside it, so that bars measured minutes apart can be compared."""
    ours = found.servers[SILL].figure(JSON, MANY)
    bars = []
    for name, server in found.servers.items():
        figure = server.figure(JSON, MANY)
        if figure is not None and figure.per_s:
            per_s = ours.per_s / figure.ratio if ours is not None and figure.ratio else figure.per_s
            bars.append((name, server.title, per_s))
    return sorted(bars, key=lambda bar: -bar[2])
