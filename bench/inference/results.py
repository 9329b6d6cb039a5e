"""What a run found, as values and as a JSON file that later runs add to."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

SILL = "sill"


@dataclass(frozen=True)
class Figure:
    """What a server gave to so many connections that asked the same question.

    Attributes:
        cpu_us: processor time of all its processes, in microseconds a request.
        ours_per_s: what Sill gave in turn with it, asked the same; 0 for Sill itself, and where it refuses.
        ours_p99_ms: the same.
    """

    protocol: str
    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float
    ours_per_s: float = 0.0
    ours_p99_ms: float = 0.0

    @property
    def ratio(self) -> float:
        """How many times faster Sill was; 0 if that is not known."""
        return self.ours_per_s / self.per_s if self.per_s else 0.0


@dataclass(frozen=True)
class Served:
    """A server with one model. `refused` says why, by protocol; `cold_s` and `memory_mb` as in `running.Server`."""

    title: str
    memory_mb: float
    cold_s: float
    figures: tuple[Figure, ...]
    refused: dict[str, str]

    def figure(self, protocol: str, connections: int) -> Figure | None:
        """One of its figures."""
        found = (one for one in self.figures if (one.protocol, one.connections) == (protocol, connections))
        return next(found, None)


@dataclass(frozen=True)
class Direct:
    """ONNX Runtime without a server: times of one row in ms, on one thread and on all; rows a second at its best."""

    row_ms: float
    wide_row_ms: float
    best: str
    per_s: float


@dataclass
class ModelResults:
    """What was found with one model. `missing` says why a server was not measured."""

    direct: Direct
    servers: dict[str, Served] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass
class Results:
    """What was found with every model. `taken` has a line for each run that is in it: date, machine, load."""

    taken: list[str] = field(default_factory=list)
    models: dict[str, ModelResults] = field(default_factory=dict)

    def add(self, newer: "Results") -> None:
        """Take in what a later run found; where both measured the same, the later stays."""
        self.taken += newer.taken
        for name, found in newer.models.items():
            known = self.models.setdefault(name, found)
            known.direct = found.direct
            known.servers |= found.servers
            known.missing = {
                peer: why for peer, why in known.missing.items() if peer not in found.servers
            } | found.missing


def read(path: Path) -> Results:
    """The results in a file; empty if there is no file."""
    if not path.exists():
        return Results()
    told = json.loads(path.read_text())
    return Results(told["taken"], {name: _model(one) for name, one in told["models"].items()})


def write(results: Results, path: Path) -> None:
    """Keep results in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_short(asdict(results)), indent=1) + "\n")


def _model(told: dict) -> ModelResults:  # type: ignore[type-arg]
    servers = {
        name: Served(**{**one, "figures": tuple(Figure(**each) for each in one["figures"])})
        for name, one in told["servers"].items()
    }
    return ModelResults(Direct(**told["direct"]), servers, told["missing"])


def _short(value: object) -> object:
    """Numbers with five digits: more say nothing here."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_short(one) for one in value]
    return value
