"""One model behind Sill and its peers. A peer and Sill are asked the same question by turns, so that what else the machine
does meets both; what is told of each is the median of its turns."""

import io
import json
import statistics
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.inference.asking import CONNECTIONS, figure
from bench.inference.home import Home
from bench.inference.models import BenchModel
from bench.inference.peers import Peer
from bench.inference.results import SILL, Direct, Figure, ModelResults, Served
from bench.inference.running import NotServed, Server, running

BATCH_ROWS = 128
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """A model as it is compared: its file, and the answer to its first row that everybody must give."""

    model: BenchModel
    file: Path
    direct: Direct
    expected: Any


def case(model: BenchModel, folder: Path) -> Case:
    """Write a model and measure ONNX Runtime by itself, see `direct`."""
    file, rows = model.write(folder), io.BytesIO()
    np.save(rows, model.rows(BATCH_ROWS))
    command = [sys.executable, str(HERE / "direct.py"), str(file)]
    ended = subprocess.run(command, input=rows.getvalue(), stdout=subprocess.PIPE, check=True)
    told = json.loads(ended.stdout)
    answer = np.array(told.pop("answer"), np.float32)
    return Case(model, file, Direct(**told), answer)


def compare(
    case: Case, home: Home, peers: list[Peer], seconds: float, turns: int, found: ModelResults
) -> Iterator[str]:
    """Measure Sill, then each peer beside it, into `found`; its lines as they come."""
    direct = case.direct
    yield f"== {case.model.name}: the model's own time {direct.row_ms * 1e3:.0f} us a row"
    yield f"   ONNX Runtime alone: {direct.per_s:,.0f} rows/s with its best batch ({direct.best})"
    ours = home.server(case.model, case.expected)
    found.servers[SILL] = yield from _measured(ours, None, seconds, turns)
    for peer in peers:
        try:
            with running(peer, case.model, case.file, case.expected) as server:
                found.servers[peer.name] = yield from _measured(server, ours, seconds, turns)
        except NotServed as why:
            found.missing[peer.name] = str(why)
            yield f"   {peer.title}: not measured: {why}"


def _measured(server: Server, ours: Server | None, seconds: float, turns: int) -> Generator[str, None, Served]:
    """A server's lines; what it returns is what they say."""
    yield f"   {server.title}: {server.cold_s:.2f} s from a cold start to an answer"
    figures = []
    for protocol in server.questions:
        for connections in CONNECTIONS:
            asked = [server, ours] if ours is not None and protocol in ours.questions else [server]
            each = [[figure(one, protocol, connections, seconds) for one in asked] for _ in range(turns)]
            one, *beside = [_median(of_one) for of_one in zip(*each, strict=True)]
            for own in beside:
                one = replace(one, ours_per_s=own.per_s, ours_p99_ms=own.p99_ms)
            figures.append(one)
            yield _line(one)
    for protocol, why in server.refused.items():
        yield f"      {protocol:6} refused: {why}"
    memory_mb = server.memory_mb()
    yield f"      {memory_mb:,.0f} MB"
    return Served(server.title, memory_mb, server.cold_s, tuple(figures), server.refused)


def _median(turns: tuple[Figure, ...]) -> Figure:
    """Each number's median, and all that failed."""
    names = ("per_s", "p50_ms", "p99_ms", "cpu_us")
    medians = {name: statistics.median(getattr(one, name) for one in turns) for name in names}
    return replace(turns[0], failed=sum(one.failed for one in turns), **medians)


def _line(one: Figure) -> str:
    line = f"      {one.protocol:6} c={one.connections:<3} {one.per_s:>9,.0f}/s  p50 {one.p50_ms:7.2f} ms"
    line += f"  p99 {one.p99_ms:7.2f} ms  {one.cpu_us:6,.0f} us of processors"
    if one.ratio:
        line += f"   Sill beside it {one.ours_per_s:>9,.0f}/s: {one.ratio:.2f} times"
    return line + (f"   {one.failed} FAILED" if one.failed else "")
