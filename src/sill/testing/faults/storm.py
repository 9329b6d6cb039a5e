"""The storm itself: writers write, the inference plane is asked, and the control plane is killed at random points."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import msgspec

from sill.core.errors import SillError
from sill.endpoints.types import EndpointSpec
from sill.lake.types import Between, QualityGate, TableSpec
from sill.models.types import VersionSpec
from sill.runs.types import RunSpec
from sill.runtimes.types import Signature, TensorSpec
from sill.sdk.client import Client
from sill.sdk.endpoints import Endpoints
from sill.sdk.governance import Governance
from sill.sdk.lake import Tables
from sill.sdk.models import Models
from sill.sdk.runs import Runs
from sill.sdk.traffic import Traffic
from sill.sdk.trainings import Trainings
from sill.testing.control_plane import ControlPlane, Started, wait_until_served
from sill.testing.faults.ledger import Ledger
from sill.testing.faults.writers import (
    ENDPOINT,
    MODEL,
    PROJECT,
    SMALL,
    VALUE_MAX,
    Prepared,
    Writer,
    command,
    table_name,
)
from sill.testing.platform import against, evaluation, linear_onnx

WRITERS = 4
LONG_S = 7_200.0
"""How long the long run would last if nobody told it to end: longer than any storm."""
EARLY = 0.15
"""The share of kills that come while the control plane still starts."""
EARLY_S_MAX = 0.6
SOON_S_MAX, LATE_S_MAX = 0.6, 2.5
SOON = 0.5
"""The share of the others that come soon after the start; the first write to the lake has hardly begun then."""
ASK_S = 0.05
SETTLE_S_MAX = 120.0


@dataclass
class Aftermath:
    """A platform after a storm, running again, with nothing left to do."""

    plane: ControlPlane
    ledger: Ledger
    prepared: Prepared
    kills: int = 0
    starts: list[Started] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Ids of the requests that the inference plane answered."""

    @property
    def client(self) -> Client:
        """A client of its project."""
        return self.plane.client(PROJECT)

    def tables(self) -> list[str]:
        """The tables that rows were appended to."""
        return sorted({write.facts["table"] for write in self.ledger.writes("append")})

    def told(self) -> str:
        """The storm in a few lines."""
        walls, own = sorted(one.wall_s for one in self.starts), sorted(one.own_s for one in self.starts)
        return (
            f"{self.kills} kills; ready after {walls[0]:.2f} to {walls[-1]:.2f} s, median {walls[len(walls) // 2]:.2f} s "
            f"(without waiting for a core: {own[0]:.2f} to {own[-1]:.2f} s); {len(self.asked)} requests answered; "
            f"writes sent and acknowledged: {self.ledger.count()}"
        )


def raise_storm(plane: ControlPlane, kills: int, seed: int) -> Aftermath:
    """Write, kill and start again that many times, then let everything come to rest."""
    print(f"storm of {kills} kills, seed {seed}")
    dice = random.Random(seed)
    plane.start()
    after = Aftermath(plane, Ledger(), prepare(plane))
    with writing(after, seed), asking(after):
        for number in range(kills):
            if number == kills // 2:
                wait_until_each_is_acknowledged(after)
            one_kill(after, dice)
        if plane.process is None:
            after.starts.append(plane.start())
    settle(after)
    print(after.told())
    return after


def wait_until_each_is_acknowledged(after: Aftermath) -> None:
    """Let the middle of the storm have something of each kind to lose: a busy machine acknowledges little between kills.

    Raises:
        TimeoutError: some kind of write is never acknowledged.
    """
    if after.plane.process is None:
        after.starts.append(after.plane.start())
    until_s = time.monotonic() + SETTLE_S_MAX
    while any(acknowledged == 0 for _, acknowledged in after.ledger.count().values()):
        if time.monotonic() > until_s:
            raise TimeoutError(f"never acknowledged: {after.ledger.count()}; {after.plane.said()}")
        time.sleep(0.05)


def one_kill(after: Aftermath, dice: random.Random) -> None:
    """Let it run for a moment, then kill it; now and then before it has even started."""
    plane = after.plane
    is_up = plane.process is not None
    if not is_up:
        plane.spawn()
    if not is_up and dice.random() < EARLY:
        time.sleep(dice.uniform(0.0, EARLY_S_MAX))
    else:
        if not is_up:
            after.starts.append(plane.wait_ready())
        time.sleep(dice.uniform(0.02, SOON_S_MAX) if dice.random() < SOON else dice.uniform(SOON_S_MAX, LATE_S_MAX))
    plane.kill()
    after.kills += 1
    after.prepared.kills = after.kills
    if dice.random() < 1 - EARLY:
        after.starts.append(plane.start())


def prepare(plane: ControlPlane) -> Prepared:
    """A project with tables, a model that is served, and a run that lasts until it is told to end."""
    notes = plane.home / "notes"
    notes.mkdir()
    client = plane.client(PROJECT)
    Governance(client).create_project(PROJECT)
    for number in range(30):
        declare_rows(client, table_name(25 * number))
    digest = Trainings(client).store_blob(linear_onnx())
    card = Trainings(client).store_blob(b"# m")
    spec = VersionSpec(
        model=MODEL,
        files={"model.onnx": digest, "card.md": card},
        signature=Signature(
            inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 2)),),
            outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, 1)),),
            features=("age", "income"),
            task="regression",
        ),
        evaluation=evaluation(),
    )
    first = Models(client).register(spec).version
    Endpoints(client).apply(EndpointSpec(project=PROJECT, name=ENDPOINT, model=MODEL))
    long_run = Runs(client).submit(RunSpec(name="long", command=command(notes / "long", LONG_S), resources=SMALL))
    wait_until_served(plane, PROJECT, ENDPOINT)
    better = msgspec.structs.replace(spec, evaluation=against(first, 0.05))
    return Prepared(notes, better, long_run.id)


def declare_rows(client: Client, name: str) -> None:
    """A table that sends large values to quarantine."""
    rules = (Between(column="value", high=float(VALUE_MAX)),)
    gate = QualityGate(quarantined_fraction_max=0.9)
    Tables(client).declare(TableSpec(project=PROJECT, name=name, rules=rules, gate=gate))


@contextmanager
def writing(after: Aftermath, seed: int) -> Iterator[None]:
    """Writers, each in a thread; at the end each brings its last write to an end."""
    stop = threading.Event()
    writers = [Writer(after.plane, after.ledger, number, seed, after.prepared) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.write_until, args=(stop,)) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def asking(after: Aftermath) -> Iterator[None]:
    """One who asks the endpoint all the while: the inference plane answers whether there is a control plane or not."""
    stop = threading.Event()

    def ask() -> None:
        traffic, count = Traffic(after.client), 0
        while not stop.is_set():
            count += 1
            try:
                traffic.infer(ENDPOINT, {"age": 1.0, "income": 2.0}, request_id=f"asked-{count}")
                after.asked.append(f"asked-{count}")
            except (SillError, httpx.HTTPError) as wrong:
                after.ledger.surprises.append(f"request {count}: {wrong}")
            time.sleep(ASK_S)
        traffic.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def settle(after: Aftermath) -> None:
    """Tell the long run to end, and wait until every run is over and every request is in the lake.

    Raises:
        TimeoutError: something does not come to rest.
    """
    (after.prepared.notes / "long.stop").touch()
    runs, tables = Runs(after.client), Tables(after.client)
    until_s = time.monotonic() + SETTLE_S_MAX
    missing, going = set(after.asked), ["all"]
    while time.monotonic() < until_s:
        going = [run.id for state in ("queued", "running") for run in runs.list(state=state).items]
        if not going:
            recorded = tables.rows(f"requests_{ENDPOINT}", columns=("request_id",), where={"is_shadow": False})
            missing = set(after.asked).difference(recorded.column("request_id").to_pylist())
        if not going and not missing:
            return
        time.sleep(0.2)
    raise TimeoutError(f"runs still going: {going}; {len(missing)} requests not recorded; {after.plane.said()}")
