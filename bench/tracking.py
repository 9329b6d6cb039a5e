"""Tracking: Sill and a real MLflow server side by side, same machine, same run, same client; how many times faster.

MLflow runs as its users start it (`mlflow server` on SQLite, four workers). Sill runs as it is shipped: every call carries a
token and is checked, every write is on disk (fsync) before its answer, as MLflow's are. Each thing is done with MLflow's own
client, whose time for making and reading messages is in both numbers, and with bare HTTP, which shows the servers.
"""

import concurrent.futures
import http.client
import json
import math
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from bench import tracking_stores as stores
from bench.tracking_client import FILTER, ORDER, PAGE, POINTS
from sill.testing.control_plane import ControlPlane
from sill.testing.mlflow_server import MlflowServer

RUNS = 100_000
LONG = 1_000_000
SECONDS = 5.0
CLIENTS = 8
STARTS = 3
IDLE_S = 20.0
HISTORY_PAGE = 25_000
SAMPLE = 1_000
API = "/api/2.0/mlflow"
TOKEN = re.compile(rb'"next_page_token":\s*"([^"]+)"')
CLIENT = Path(__file__).with_name("tracking_client.py")
MB = 1e6


class Side:
    """One of the two servers, and what the measurements need to know of it."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.headers = {"Content-Type": "application/json"}
        self.token = ""
        self.experiment_id = ""
        self.run_id = ""
        """The run that is written to."""
        self.long_id = ""
        """The run with the long series."""
        self.broken = 0
        """Calls that ended without an answer: MLflow's workers are ended by their parent when they are busy for long."""

    def connect(self) -> "Connection":
        """A kept-alive connection."""
        return Connection(self)


class Connection:
    """Bare HTTP: nothing but the socket between the measurement and the server."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self._http = http.client.HTTPConnection("127.0.0.1", side.port, timeout=600)
        self._headers = side.headers

    def post(self, path: str, body: Any) -> Any:
        """POST; `body` may be bytes that were made before."""
        return self._ask("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())

    def get(self, path: str, **query: Any) -> Any:
        """GET."""
        return self._ask("GET", f"{path}?{urlencode(query)}", None)

    def close(self) -> None:
        """Close it; the next call opens it again."""
        self._http.close()

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        self._http.request(method, API + path, body, self._headers)
        answer = self._http.getresponse()
        read = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(read.decode(errors="replace")[:500])
        return read


def measure(runs: int = RUNS, long: int = LONG) -> Iterator[str]:
    """A line for each thing, with both numbers and their ratio."""
    with tempfile.TemporaryDirectory(prefix="sill-bench-") as folder:
        mlflow = MlflowServer(Path(folder) / "mlflow", is_shipped=True)
        sill = ControlPlane(Path(folder) / "home")
        sides = Side("mlflow", mlflow.port), Side("sill", sill.port)
        try:
            begin(mlflow, sill)
            make(sides, sill)
            yield start(mlflow, sill)
            yield idle(mlflow, sill)
            mlflow.stop()
            sill.stop()
            fill(mlflow, sill, sides, runs, long)
            begin(mlflow, sill)
            yield from write(sides, mlflow)
            yield from read(sides, mlflow, runs, long)
            yield "calls that were not answered: " + ", ".join(f"{side.name} {side.broken}" for side in sides)
        finally:
            mlflow.stop()
            sill.stop()


def begin(mlflow: MlflowServer, sill: ControlPlane) -> tuple[float, float]:
    """Start both, one after the other; the seconds each took."""
    begun_s = time.monotonic()
    mlflow.spawn().wait_ready()
    return time.monotonic() - begun_s, sill.start().wall_s


def start(mlflow: MlflowServer, sill: ControlPlane) -> str:
    """Start both some times, on stores that are there."""
    taken: list[tuple[float, float]] = []
    for _ in range(STARTS):
        mlflow.stop()
        sill.stop()
        taken.append(begin(mlflow, sill))
    medians = [statistics.median(each) for each in zip(*taken, strict=True)]
    return compare("start until the first answer", medians, "s")


def idle(mlflow: MlflowServer, sill: ControlPlane) -> str:
    """Memory of both after a while without calls."""
    time.sleep(IDLE_S)
    sizes = [sum(_pss(process) for process in server.processes()) / MB for server in (mlflow, sill)]
    return compare("idle memory (PSS of all processes)", sizes, "MB")


def make(sides: tuple[Side, ...], sill: ControlPlane) -> None:
    """An experiment and two runs on each side."""
    token = (sill.home / "token").read_text().strip()
    sides[1].token = token
    sides[1].headers["Authorization"] = f"Bearer {token}"
    for side in sides:
        connection = side.connect()
        side.experiment_id = json.loads(connection.post("/experiments/create", {"name": "bench"}))["experiment_id"]
        begun = {"experiment_id": side.experiment_id, "start_time": stores.START_MS}
        side.run_id, side.long_id = (
            json.loads(connection.post("/runs/create", begun))["run"]["info"]["run_id"] for _ in range(2)
        )


def fill(mlflow: MlflowServer, sill: ControlPlane, sides: tuple[Side, ...], runs: int, long: int) -> None:
    """The same runs and the same series in both stores."""
    path = mlflow.folder / "mlflow.db"
    stores.fill_mlflow(path, sides[0].experiment_id, runs)
    stores.lengthen_mlflow(path, sides[0].long_id, "long", long)
    stores.fill_sill(sill.home, "default", sides[1].experiment_id, runs)
    stores.lengthen_sill(sill.home, "default", sides[1].long_id, "long", long)


def write(sides: tuple[Side, ...], mlflow: MlflowServer) -> Iterator[str]:
    """Batches of 1,000 points, and single points; one client and several."""
    seconds = [statistics.median(by_client(side, mlflow, "batch")) for side in sides]
    yield compare(f"log_batch of {POINTS:,}, MLflow's client", (POINTS / each for each in seconds), "points/s")
    for clients in (1, CLIENTS):
        rates = [POINTS * together(side, clients, log_batches) for side in sides]
        yield compare(f"log_batch of {POINTS:,}, bare HTTP, {_clients(clients)}", rates, "points/s")
    seconds = [statistics.median(by_client(side, mlflow, "single")) * 1e3 for side in sides]
    yield compare("log_metric p50, MLflow's client", seconds, "ms")
    seconds = [statistics.median(log_singles(side)) * 1e3 for side in sides]
    yield compare("log_metric p50, bare HTTP", seconds, "ms")
    rates = [together(side, CLIENTS, log_singles) for side in sides]
    yield compare(f"log_metric, bare HTTP, {_clients(CLIENTS)}", rates, "calls/s")


def read(sides: tuple[Side, ...], mlflow: MlflowServer, runs: int, long: int) -> Iterator[str]:
    """Search over many runs, and a long history."""
    body = {"experiment_ids": [], "filter": FILTER, "order_by": ORDER, "max_results": PAGE}

    def search(side: Side) -> float:
        connection = side.connect()
        return timed(lambda: connection.post("/runs/search", {**body, "experiment_ids": [side.experiment_id]}))

    seconds = [statistics.median(by_client(side, mlflow, "search")) * 1e3 for side in sides]
    yield compare(f"search_runs of {runs:,} with filter and order, p50, MLflow's client", seconds, "ms")
    yield compare(
        f"search_runs of {runs:,} with filter and order, p50, bare HTTP", [search(side) * 1e3 for side in sides], "ms"
    )
    seconds = [statistics.median(by_client(side, mlflow, "history")) for side in sides]
    yield compare(f"history of {long:,} points, MLflow's client", seconds, "s")
    yield compare(f"history of {long:,} points, bare HTTP", [timed(partial(history, side)) for side in sides], "s")
    seconds = [timed(partial(sampled, side)) * 1e3 for side in sides]
    yield compare(f"{SAMPLE:,} of {long:,} points, as a chart asks for them", seconds, "ms")


def by_client(side: Side, mlflow: MlflowServer, what: str) -> list[float]:
    """Seconds of each call by MLflow's own client, in its environment."""
    command = [
        str(mlflow.python),
        str(CLIENT),
        f"http://127.0.0.1:{side.port}",
        what,
        side.long_id if what == "history" else side.run_id,
        side.experiment_id,
        str(SECONDS),
    ]
    environment = {"MLFLOW_TRACKING_TOKEN": side.token, "MLFLOW_DISABLE_TELEMETRY": "true"} if side.token else {}
    said = subprocess.run(command, env={"PATH": "", **environment}, check=True, stdout=subprocess.PIPE).stdout
    return list(json.loads(said.splitlines()[-1]))


def together(side: Side, clients: int, work: Callable[[Side], list[float]]) -> float:
    """Calls a second of so many clients at once."""
    begun_s = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(lambda _: work(side), range(clients)))
    count = sum(each != math.inf for some in found for each in some)
    return count / (time.perf_counter() - begun_s)


def log_batches(side: Side) -> list[float]:
    """Seconds of each batch of one connection."""
    connection = side.connect()
    offset = time.time_ns()
    points = ",".join(f'{{"key":"m{n % 10}","value":{n * 0.5},"timestamp":{offset},"step":%d}}' for n in range(POINTS))
    message = f'{{"run_id":"{side.run_id}","metrics":[{points}]}}'  # filled in by one call: its making takes no time

    def body(at: int) -> bytes:
        return (message % tuple(range(offset + at * POINTS, offset + (at + 1) * POINTS))).encode()

    return _repeated(connection, "/runs/log-batch", body)


def log_singles(side: Side) -> list[float]:
    """Seconds of each point of one connection."""
    connection = side.connect()
    offset = time.time_ns()

    def body(at: int) -> bytes:
        point = {"run_id": side.run_id, "key": "single", "value": 0.5, "timestamp": offset + at, "step": offset + at}
        return json.dumps(point).encode()

    return _repeated(connection, "/runs/log-metric", body)


def history(side: Side) -> None:
    """The whole series, page by page."""
    connection = side.connect()
    more: dict[str, str] = {}
    while True:
        asked = {"run_id": side.long_id, "metric_key": "long", "max_results": HISTORY_PAGE}
        found = TOKEN.search(connection.get("/metrics/get-history", **asked, **more))
        if found is None:
            return
        more = {"page_token": found[1].decode()}


def sampled(side: Side) -> None:
    """As many points as a chart shows."""
    asked = {"run_ids": side.long_id, "metric_key": "long", "max_results": SAMPLE}
    side.connect().get("/metrics/get-history-bulk-interval", **asked)


def timed(action: Callable[[], object], times: int = 5) -> float:
    """Median seconds of some times; only once if it takes long."""
    taken: list[float] = []
    while len(taken) < times and sum(taken) < SECONDS:
        begun_s = time.perf_counter()
        action()
        taken.append(time.perf_counter() - begun_s)
    return statistics.median(taken)


def compare(what: str, values: Iterable[float], unit: str) -> str:
    """Both numbers, MLflow's first, and how many times better Sill's is."""
    mlflow, sill = values
    if not mlflow:
        return f"{what}: MLflow answered none, Sill {_number(sill)} {unit}"
    ratio = sill / mlflow if unit.endswith("/s") else mlflow / sill
    return f"{what}: MLflow {_number(mlflow)} {unit}, Sill {_number(sill)} {unit}: {ratio:.1f}×"


def _repeated(connection: Connection, path: str, body: Callable[[int], bytes]) -> list[float]:
    """Seconds of each call that was answered, with another body each."""
    taken: list[float] = []
    until_s = time.perf_counter() + SECONDS
    while time.perf_counter() < until_s:
        made = body(len(taken))
        begun_s = time.perf_counter()
        try:
            connection.post(path, made)
        except (ConnectionError, http.client.HTTPException):
            connection.side.broken += 1
            connection.close()
            continue
        taken.append(time.perf_counter() - begun_s)
    connection.close()
    return taken or [math.inf]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _clients(count: int) -> str:
    return "one client" if count == 1 else f"{count} clients at once"


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
