"""Clients that write all kinds of things, each write under its key, sent again until it is acknowledged or given up."""

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from sill.endpoints.types import SLO, EndpointSpec
from sill.governance.types import Project, SecretValue
from sill.lake.types import Between, Table, TableSpec, WriteReport
from sill.models.types import AliasChange, ModelVersion, RegisteredModel, VersionSpec
from sill.runs.types import Artifact, Batch, Logged, Metric, Resources, Run, RunSpec
from sill.testing.control_plane import ControlPlane
from sill.testing.faults.ledger import Ledger
from sill.traffic.types import Label, LabelBatch, LabelReport, LogBatch, Recorded, RequestRow
from sill.triggers.types import TriggerKind, TriggerSpec, TriggerState

PROJECT = "faults"
MODEL = "m"
ENDPOINT = "e-0"
VALUE_MAX = 100
"""Rows with a larger value go to quarantine: an append then changes two tables."""
GIVE_UP = 0.25
"""The share of writers' tries, cut off by a kill, that are not sent again."""
PAUSE_S = 0.02
ANSWER_S_MAX = 90.0
POINTS = 5
SMALL = Resources(cpus=0.05, memory_bytes=64 * 1024**2)
SCRIPT = """
import os, sys, time
note = open(sys.argv[1], "a", buffering=1)
note.write("begin\\n")
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until and not os.path.exists(sys.argv[1] + ".stop"):
    time.sleep(0.02)
with open(os.path.join(os.environ["SILL_RUN_FOLDER"], "outputs", "result.txt"), "a") as result:
    result.write("done\\n")
note.write("end\\n")
"""
"""A run that tells in a file of ours, where a second start could be seen, that it began and ended."""


def command(note: Path, seconds: float) -> tuple[str, ...]:
    """The command of a run that lasts so long, or until there is a file `NOTE.stop`."""
    return (sys.executable, "-I", "-S", "-c", SCRIPT, str(note), f"{seconds:.3f}")


class Sender:
    """Sends one request again and again until it is answered."""

    def __init__(self, plane: ControlPlane, dice: random.Random) -> None:
        self._token = (plane.home / "token").read_text().strip()
        self._http = httpx.Client(base_url=f"{plane.url}/api/v1", trust_env=False, timeout=ANSWER_S_MAX)
        self._dice = dice
        self.close = self._http.close

    def send(
        self, method: str, path: str, returns: Any, body: Any = None, *, key: str = "", can_give_up: bool = True
    ) -> Any:
        """The answer; None if the connection broke and the sender gave up, so that nobody knows what became of it.

        Raises:
            AssertionError: the platform refused.
            TimeoutError: nobody answered for too long.
        """
        headers = {"Authorization": f"Bearer {self._token}"} | ({"Idempotency-Key": key} if key else {})
        content = body if isinstance(body, bytes) else msgspec.json.encode(body) if body is not None else None
        if content is not None:
            headers["Content-Type"] = "application/json"
        until_s = time.monotonic() + ANSWER_S_MAX
        while time.monotonic() < until_s:
            try:
                answer = self._http.request(method, path, content=content, headers=headers)
            except (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError):  # killed while it had our request
                if can_give_up and self._dice.random() < GIVE_UP:
                    return None
            except httpx.TransportError:
                pass
            else:
                if answer.is_success:
                    return msgspec.json.decode(answer.content, type=returns) if returns is not None else True
                if answer.status_code not in (429, 503):
                    raise AssertionError(f"{method} {path} {key}: {answer.status_code} {answer.text[:500]}")
            time.sleep(PAUSE_S)
        raise TimeoutError(f"{method} {path} was not answered for {ANSWER_S_MAX:.0f} s")


class Writer:
    """One client: the first writes everything that is not in the lake, the others, which are slower, to the lake.

    `write_until` runs in a thread of its own.
    """

    def __init__(self, plane: ControlPlane, ledger: Ledger, number: int, seed: int, prepared: "Prepared") -> None:
        self._dice = random.Random(f"{seed}/{number}")
        self._sender = Sender(plane, self._dice)
        self._send = self._sender.send
        self._ledger = ledger
        self._number = number
        self._prepared = prepared
        self._count = 0
        lake: dict[Callable[[str], None], int] = {self._append: 3, self._record: 2, self._label: 2}
        rest: dict[Callable[[str], None], int] = {
            self._log_metrics: 15,
            self._move_alias: 8,
            self._submit_run: 6,
            self._apply_endpoint: 5,
            self._declare_table: 5,
            self._declare_trigger: 5,
            self._put_artifact: 5,
            self._register: 3,
            self._create_project: 3,
            self._put_secret: 3,
        }
        self._kinds = lake if number else rest

    def write_until(self, stop: threading.Event) -> None:
        """Write until told to stop. What goes wrong is kept as a surprise."""
        try:
            while not stop.is_set():
                (write,) = self._dice.choices(list(self._kinds), list(self._kinds.values()))
                self._count += 1
                write(f"{self._number}-{self._count}")
                time.sleep(PAUSE_S)
        except Exception as wrong:  # the thread's edge: the test says what it was
            self._ledger.surprises.append(f"writer {self._number}: {type(wrong).__name__}: {wrong}")
        finally:
            self._sender.close()

    def _append(self, key: str) -> None:
        good, bad = self._dice.randint(4, 12), self._dice.choice((0, 0, 2))
        table = self._prepared.table()
        rows = [{"batch": key, "n": n, "value": n if n < good else VALUE_MAX + n} for n in range(good + bad)]
        write = self._ledger.begin("append", key, table=table, good=good, bad=bad)
        write.answer = self._send("POST", _path(f"tables/{table}/rows"), WriteReport, rows, key=key)

    def _log_metrics(self, key: str) -> None:
        metric, start = f"m{self._number}", self._count * POINTS
        points = tuple(Metric(key=metric, value=float(start + n), step=start + n) for n in range(POINTS))
        write = self._ledger.begin("metrics", key, metric=metric, start=start)
        path = _path(f"runs/{self._prepared.long_run}/log")
        write.answer = self._send("POST", path, Logged, Batch(metrics=points), key=key)

    def _record(self, key: str) -> None:
        batch = LogBatch(id=f"b-{key}", rows=tuple(_row(f"r-{key}-{n}") for n in range(3)))
        write = self._ledger.begin("record", key, ids=[row.request_id for row in batch.rows])
        write.answer = self._send("POST", "serving/log", Recorded, batch)

    def _label(self, key: str) -> None:
        labelled = {write.facts["of"] for write in self._ledger.writes("label")}
        mine = [one for one in self._ledger.acknowledged("record") if one.key.startswith(f"{self._number}-")]
        known = [write for write in mine if write.key not in labelled]
        if not known:
            return
        of = self._dice.choice(known)
        labels = tuple(Label(request_id=request_id, label="1") for request_id in of.facts["ids"])
        write = self._ledger.begin("label", key, of=of.key, ids=of.facts["ids"])
        path = _path(f"endpoints/{ENDPOINT}/labels")
        write.answer = self._send("POST", path, LabelReport, LabelBatch(labels=labels), key=key)

    def _move_alias(self, key: str) -> None:
        versions = self._ledger.acknowledged("register")
        version = self._dice.choice(versions).answer.version if versions else 1
        write = self._ledger.begin("alias", key, alias=f"a-{self._number}", version=version)
        path = _path(f"models/{MODEL}/aliases/a-{self._number}")
        write.answer = self._send("PUT", path, RegisteredModel, AliasChange(version=version), key=key)

    def _submit_run(self, key: str) -> None:
        note = self._prepared.notes / key
        lasts = self._dice.choice((0.0, 0.3, 1.0))
        spec = RunSpec(name=f"run-{key}", command=command(note, lasts), resources=SMALL, tags={"key": key})
        write = self._ledger.begin("run", key, note=note)
        write.answer = self._send("POST", _path("runs"), Run, spec, key=key)

    def _apply_endpoint(self, key: str) -> None:
        name, p99_ms = f"e-{self._number}", 100.0 + self._count
        spec = EndpointSpec(project=PROJECT, name=name, model=MODEL, slo=SLO(p99_ms=p99_ms))
        write = self._ledger.begin("endpoint", key, name=name, p99_ms=p99_ms)
        write.answer = self._send("PUT", _path(f"endpoints/{name}"), None, spec, key=key)

    def _declare_table(self, key: str) -> None:
        write = self._ledger.begin("table", key)
        spec = TableSpec(project=PROJECT, name=f"t-{key}", note=key, rules=(Between(column="value", high=1.0),))
        write.answer = self._send("PUT", _path(f"tables/t-{key}"), Table, spec, key=key)

    def _declare_trigger(self, key: str) -> None:
        spec = TriggerSpec(project=PROJECT, name=f"g-{key}", on=TriggerKind.HAND, start="nothing")
        write = self._ledger.begin("trigger", key)
        write.answer = self._send("PUT", _path(f"triggers/g-{key}"), TriggerState, spec, key=key)

    def _put_artifact(self, key: str) -> None:
        content = self._dice.randbytes(self._dice.randint(1, 20_000))
        write = self._ledger.begin("artifact", key, content=content)
        path = _path(f"runs/{self._prepared.long_run}/artifacts/{key}.bin")
        write.answer = self._send("PUT", path, Artifact, content, key=key)

    def _register(self, key: str) -> None:
        spec = msgspec.structs.replace(self._prepared.version, note=key)
        write = self._ledger.begin("register", key)
        write.answer = self._send("POST", _path(f"models/{MODEL}/versions"), ModelVersion, spec, key=key)

    def _create_project(self, key: str) -> None:
        write = self._ledger.begin("project", key)
        write.answer = self._send("POST", "projects", Project, Project(project=f"p-{key}"), key=key)

    def _put_secret(self, key: str) -> None:
        write = self._ledger.begin("secret", key)
        write.answer = self._send("PUT", _path(f"secrets/s-{key}"), None, SecretValue(value=f"v-{key}"), key=key)


class Prepared:
    """What the writers need to be there.

    Args:
        notes: folder in which runs tell that they began and ended.
    """

    def __init__(self, notes: Path, version: VersionSpec, long_run: str) -> None:
        self.notes = notes
        self.version = version
        self.long_run = long_run
        self.kills = 0

    def table(self) -> str:
        """The table that rows are appended to now; another one after every 25 kills."""
        return table_name(self.kills)


def table_name(kills: int) -> str:
    """The name of the table that takes rows after so many kills."""
    return f"rows-{kills // 25}"


def _path(rest: str) -> str:
    return f"projects/{PROJECT}/{rest}"


def _row(request_id: str) -> RequestRow:
    return RequestRow(
        request_id=request_id,
        at_us=time.time_ns() // 1_000,
        project=PROJECT,
        endpoint=ENDPOINT,
        revision=1,
        model_version=1,
        is_shadow=False,
        status=200,
        latency_ms=1.0,
        features={"age": 1.0, "income": 2.0},
        prediction="1",
    )
