"""What was to be reached, and what was. Where no ONNX Runtime back end for Triton is at hand (no wheel carries it), the
hand-written server stands for it: on one machine Triton was 2.7 times as fast as that server with the small models."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.inference.asking import CONNECTIONS
from bench.inference.questions import JSON, PROTOCOLS
from bench.inference.results import SILL, ModelResults, Results, Served

TRITON, TIMES_TRITON = "triton-onnx", 1.0
BRIDGE = "tuned"
TIMES_BRIDGE = {"tabular": 2.7, "cnn": 2.7, "encoder": 1.0}
TIMES_OTHERS = {"bentoml": 20, "mlflow": 20, "litserve": 10, "ray": 10, "kserve": 10, "mlserver": 10, "naive": 10}
OF_DIRECT = {"cnn": 0.9, "encoder": 0.9}
ADDED_US_MAX = 150
MANY = CONNECTIONS[-1]


@dataclass(frozen=True)
class Goal:
    """One goal beside what was found with so many connections. `is_most`: the wanted value must not be exceeded."""

    what: str
    connections: int
    unit: str
    wanted: float
    found: float
    is_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether it was reached."""
        return self.found <= self.wanted if self.is_most else self.found >= self.wanted


def goals(results: Results) -> Iterator[Goal]:
    """Each goal that the results have figures for."""
    for name, found in results.models.items():
        ours = found.servers.get(SILL)
        if ours is None:
            continue
        if TRITON in found.servers:
            yield from _beside_triton(name, found.servers[TRITON])
        if name in TIMES_BRIDGE and BRIDGE in found.servers:
            yield from _beside_bridge(name, ours, found.servers[BRIDGE])
        if name == "tabular":
            yield from _beside_others(found)
        if name in OF_DIRECT and ours.figures:
            best = max(ours.figures, key=lambda one: one.per_s)
            what = f"{name}: rows/s, of ONNX Runtime's in a loop"
            yield Goal(what, best.connections, "times", OF_DIRECT[name], best.per_s / found.direct.per_s)
        for protocol in PROTOCOLS:
            if lone := ours.figure(protocol, 1):
                added_us = (lone.p50_ms - found.direct.row_ms) * 1e3
                what = f"{name}, {protocol}: p50 added to the model's own time"
                yield Goal(what, 1, "us", ADDED_US_MAX, added_us, is_most=True)


def _beside_triton(model: str, triton: Served) -> Iterator[Goal]:
    for one in triton.figures:
        what = f"{model}, {one.protocol}, beside Triton with ONNX Runtime"
        yield Goal(what, one.connections, "times", TIMES_TRITON, one.ratio)
        if model == "encoder" and one.p99_ms:
            yield Goal(f"{what}: p99", one.connections, "times", 1.0, one.ours_p99_ms / one.p99_ms, is_most=True)


def _beside_bridge(model: str, ours: Served, bridge: Served) -> Iterator[Goal]:
    """The bridge speaks JSON; how much faster Sill's other protocols are than its own JSON comes from its own figures."""
    for connections in CONNECTIONS:
        beside, own = bridge.figure(JSON, connections), ours.figure(JSON, connections)
        if beside is None or own is None or not own.per_s:
            continue
        for protocol in PROTOCOLS:
            if figure := ours.figure(protocol, connections):
                times = beside.ratio * figure.per_s / own.per_s
                what = f"{model}, {protocol}, beside the hand-written server's JSON"
                yield Goal(what, connections, "times", TIMES_BRIDGE[model], times)


def _beside_others(found: ModelResults) -> Iterator[Goal]:
    for name, wanted in TIMES_OTHERS.items():
        figure = found.servers[name].figure(JSON, MANY) if name in found.servers else None
        if figure is not None:
            yield Goal(f"tabular, json, beside {found.servers[name].title}", MANY, "times", wanted, figure.ratio)
