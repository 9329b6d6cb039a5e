"""`python -m bench.inference`: every server with every model in one run; prints figures, and how many times better Sill is.

python -m bench.inference --peers tuned,mlflow --models tabular --seconds 3
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.inference.home import Home, serving
from bench.inference.load import Found, Order
from bench.inference.models import MODELS, BenchModel
from bench.inference.peers import PEERS
from bench.inference.questions import JSON, Question
from bench.inference.running import NotServed, Server, running

CONNECTIONS = (1, 16, 64)
SECONDS, WARM_UP_S = 1.0, 0.4
BATCH_ROWS = 128
HERE = Path(__file__).parent


def main() -> None:
    """Measure what was asked for."""
    chosen = arguments()
    models = [MODELS[name] for name in chosen.models]
    with tempfile.TemporaryDirectory(prefix="sill-bench-") as named:
        folder = Path(named)
        files = {model.name: model.write(folder) for model in models}
        direct = {model.name: measure_direct(model, files[model.name]) for model in models}
        answers = {name: np.array(found["answer"], np.float32) for name, found in direct.items()}
        with serving(models, answers) as home:
            for model in models:
                for line in compare(chosen, home, model, files[model.name], direct[model.name]):
                    print(line, flush=True)


def compare(
    chosen: argparse.Namespace, home: Home, model: BenchModel, file: Path, direct: dict[str, Any]
) -> Iterator[str]:
    """The lines of one model: ONNX Runtime by itself, Sill, then each peer beside it."""
    expected = np.array(direct["answer"], np.float32)
    yield f"== {model.name}: the model's own time {direct['row_ms'] * 1e3:.0f} us a row"
    yield f"   ONNX Runtime alone: {direct['per_s']:,.0f} rows/s with its best batch ({direct['best']})"
    ours = home.server(model, expected)
    figures = measure(ours, chosen.seconds)
    yield from told(ours, figures, figures)
    if (JSON, 1) in figures:
        over_us = (figures[JSON, 1].p50_ms - direct["row_ms"]) * 1e3
        yield f"   Sill adds {over_us:.0f} us p50 to the model's own time (JSON, 1 connection)"
    best = max((found.per_s for found in figures.values()), default=0.0)
    yield f"   Sill at its best: {best:,.0f} rows/s, {best / direct['per_s']:.2f} of ONNX Runtime alone"
    for name in chosen.peers:
        try:
            with running(PEERS[name], model, file, expected) as server:
                yield from told(server, measure(server, chosen.seconds), figures)
        except NotServed as why:
            yield f"   {PEERS[name].title}: not measured: {why}"


def told(server: Server, figures: dict[tuple[str, int], Found], ours: dict[tuple[str, int], Found]) -> Iterator[str]:
    """A server's lines; ratios above 1 say how many times faster Sill is."""
    yield f"   {server.title}: {server.memory_mb:,.0f} MB, {server.cold_s:.2f} s from a cold start to an answer"
    for (protocol, connections), found in figures.items():
        line = f"      {protocol:6} c={connections:<3} {found.per_s:>9,.0f}/s  p50 {found.p50_ms:7.2f} ms"
        line += f"  p99 {found.p99_ms:7.2f} ms"
        if figures is not ours and (protocol, connections) in ours:
            line += f"   Sill: {ours[protocol, connections].per_s / found.per_s:.2f} times"
        yield line + (f"   {found.failed} FAILED" if found.failed else "")
    for protocol, why in server.refused.items():
        yield f"      {protocol:6} refused: {why}"


def measure(server: Server, seconds: float) -> dict[tuple[str, int], Found]:
    """What a server gives, by protocol and connections."""
    return {
        (protocol, connections): load(asked, connections, seconds)
        for protocol, asked in server.questions.items()
        for connections in CONNECTIONS
    }


def load(asked: Question, connections: int, seconds: float) -> Found:
    """Ask for so long, from a process of its own."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(asked.body)
        body.flush()
        order = Order(
            port=asked.port,
            protocol=asked.protocol,
            path=asked.path,
            headers=asked.headers,
            body_file=body.name,
            connections=connections,
            seconds=seconds,
            warm_up_s=WARM_UP_S,
        )
        given = json.dumps(asdict(order)).encode()
        ended = subprocess.run([sys.executable, str(HERE / "load.py")], input=given, capture_output=True, check=False)
    if ended.returncode:
        print(f"      {asked.protocol} c={connections}: {ended.stderr.decode()[-300:]}", flush=True)
        return Found(per_s=1e-9, p50_ms=float("inf"), p99_ms=float("inf"), answers=0, failed=1)
    return Found(**json.loads(ended.stdout))


def measure_direct(model: BenchModel, file: Path) -> dict[str, Any]:
    """ONNX Runtime by itself, see `direct`."""
    rows = io.BytesIO()
    np.save(rows, model.rows(BATCH_ROWS))
    command = [sys.executable, str(HERE / "direct.py"), str(file)]
    ended = subprocess.run(command, input=rows.getvalue(), stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def arguments() -> argparse.Namespace:
    """What is to be measured; everything if nothing is said."""
    parser = argparse.ArgumentParser(prog="python -m bench.inference", description=__doc__)
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    parser.add_argument("--models", type=_names(MODELS), default=list(MODELS), help=", ".join(MODELS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each figure is measured")
    return parser.parse_args()


def _names(known: dict[str, Any]) -> Any:
    def split(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not known; {', '.join(known)} are")
        return names

    return split


if __name__ == "__main__":
    main()
