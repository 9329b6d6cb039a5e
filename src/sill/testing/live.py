"""A real platform for the tests of the API: `python -m sill.api` on a home of its own, filled with one of everything."""

import contextlib
import hashlib
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from sill.core.errors import Unavailable
from sill.testing.platform import evaluation, linear_onnx

READY_S = 60.0
TO_GO_ON = ("sill.api", "sill.api.inference", "sill.engines.local.supervisor", "sleep")
"""What no request may end, by a word of its command line."""
RUN_SECONDS = "900"
PROJECT, FOREIGN = "acme", "other"
CHANGES_BY_ITSELF = frozenset({"events", "cursors"})
"""Tables that workers and refusals write to; of the events, those that no refusal writes are counted instead."""
ROWS = {
    "runs": "SELECT project, key, state, experiment, kind, parent_id, json_remove(doc, '$.reason', '$.revision') FROM runs",
    "triggers": "SELECT project, key, json_extract(doc, '$.spec'), json_extract(doc, '$.fired') FROM triggers",
    "run_series": "SELECT * FROM run_series WHERE key NOT LIKE 'system/%'",
    "run_last_metrics": "SELECT * FROM run_last_metrics WHERE key NOT LIKE 'system/%'",
}
"""What is compared of tables in which a worker notes things beside: why a run or a trigger waits, what a run uses."""


class Live:
    """One control plane with its inference plane, in processes of their own."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.inference_url = f"http://127.0.0.1:{self.port + 1}"
        self.settings = settings
        self.run_id = ""
        self.started: dict[str, psutil.Process] = {}
        """By name of `TO_GO_ON`, from when `fill` was done."""
        self.process: subprocess.Popen[bytes] | None = None
        self.tokens: dict[str, str] = {}

    def start(self) -> "Live":
        """Start it and wait until both planes answer."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SILL_")}
        environment |= {"SILL_HOME": str(self.home), "SILL_PORT": str(self.port), **self.settings}
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.home / "up.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sill.api"],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until_s = time.monotonic() + READY_S
        while time.monotonic() < until_s and self.process.poll() is None:
            if answers(f"{self.url}/health") and answers(f"{self.inference_url}/v2/health/live"):
                self.tokens["root"] = (self.home / "token").read_text().strip()
                return self
            time.sleep(0.05)
        raise Unavailable(f"it did not start: {(self.home / 'up.log').read_text()[-2000:]}")

    def client(self, who: str = "", **options: Any) -> httpx.Client:
        """A keep-alive client; `who` is the name of a token, or empty for none."""
        headers = {"authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, **options)

    def kill(self) -> None:
        """End the control plane as a power cut would; the inference plane goes on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End everything that was started on this home."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def processes(self) -> list[psutil.Process]:
        """Every process that has this home in its environment: planes, supervisors, runs."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.home) in " ".join([*process.environ().values(), *process.cmdline()]):
                    found.append(process)
        return found

    def ended(self, *names: str) -> list[str]:
        """Which of `started`, or of those named, have ended, and what the logs say last."""
        gone = [name for name in names or TO_GO_ON if not self.started[name].is_running()]
        return [*gone, *self.log().splitlines()[-20:]] if gone else []

    def state(self) -> dict[str, object]:
        """A digest of each table's rows, but for the readers' places, and the number of events that are no refusals."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/sill.db?mode=ro", uri=True)) as database:
            named = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
            found: dict[str, object] = {
                name: _digest(database, name) for (name,) in named if name not in CHANGES_BY_ITSELF
            }
            query = "SELECT count(*) FROM events WHERE kind <> 'access.denied'"
            return {**found, "events": database.execute(query).fetchone()[0]}

    def last_events(self) -> list[str]:
        """For the message of a test that found a change."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/sill.db?mode=ro", uri=True)) as database:
            return [str(row) for row in database.execute("SELECT kind, subject FROM events ORDER BY seq DESC LIMIT 3")]

    def log(self) -> str:
        """What both planes have written down."""
        return "\n".join(path.read_text(errors="replace") for path in sorted((self.home / "logs").glob("*.log")))


def _digest(database: sqlite3.Connection, table: str) -> str:
    """A digest of what is compared of a table's rows."""
    query = ROWS.get(table, f"SELECT * FROM {table}")  # noqa: S608  # names from the database's own list
    return hashlib.sha256(repr(sorted(database.execute(query))).encode()).hexdigest()


def answers(url: str) -> bool:
    """True if something answers 200 there."""
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def free_port() -> int:
    """The first of three free ports in a row, below those that the kernel gives to outgoing connections."""
    while True:
        port = 12_000 + 3 * secrets.randbelow(6_600)
        with contextlib.ExitStack() as stack:
            try:
                for each in (port, port + 1, port + 2):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            except OSError:
                continue
            return port


def fill(platform: Live) -> None:
    """One of everything in the project, so that every route has something to be wrong about."""
    with platform.client("root") as client:
        for project in (PROJECT, FOREIGN):
            ask(client, "POST", "/projects", {"project": project})
        for name, role, project in (("reader", "reader", PROJECT), ("stranger", "developer", FOREIGN)):
            made = ask(client, "POST", "/tokens", {"name": name, "role": role, "projects": [project]})
            platform.tokens[name] = made["secret"]
        made = ask(client, "POST", "/tokens", {"name": "powerless", "scopes": ["serving:infer"], "projects": [PROJECT]})
        platform.tokens["powerless"] = made["secret"]
        at = f"/projects/{PROJECT}"
        place = {"project": PROJECT, "name": "thing"}
        ask(client, "PUT", f"{at}/secrets/thing", {"value": "kept"})
        ask(client, "PUT", f"{at}/tables/thing", {**place, "key": ["id"]})
        ask(client, "POST", f"{at}/tables/thing/rows", [{"id": 1, "age": 40.0}, {"id": 2, "age": 50.0}])
        upload = (
            client.post(f"/api/v1{at}/uploads?name=things.csv", content=b"id,age\n3,60\n").raise_for_status().json()
        )
        ask(client, "PUT", f"{at}/ingestions/thing", {**place, "table": "thing", "sources": [{"url": upload["url"]}]})
        ask(client, "PUT", f"{at}/features/thing", {**place, "table": "thing", "entity": ["id"]})
        training = {"function": "fit", "module": "code", "data": "thing", "label": "age", "model": "thing"}
        ask(client, "PUT", f"{at}/trainings/thing", {**place, **training})
        ask(client, "PUT", f"{at}/pipelines/thing", {**place, "steps": [{"name": "one", "command": ["true"]}]})
        ask(client, "PUT", f"{at}/endpoints/thing", {**place, "model": "thing"})
        ask(client, "PUT", f"{at}/monitors/thing", {**place, "endpoint": "thing"})
        trigger = {"on": "hand", "start": "thing", "start_kind": "pipeline"}
        ask(client, "PUT", f"{at}/triggers/thing", {**place, **trigger})
        ask(client, "POST", f"{at}/models/thing/versions", version(client, at))
        run = ask(client, "POST", f"{at}/runs", {"command": ["sleep", RUN_SECONDS], "resources": {"cpus": 1.0}})
        platform.run_id = run["id"]
        ask(client, "POST", f"{at}/runs/{run['id']}/log", {"metrics": [{"key": "auc", "value": 0.5}]})
        client.put(f"/api/v1{at}/runs/{run['id']}/artifacts/thing.txt", content=b"kept").raise_for_status()
        until_s = time.monotonic() + READY_S
        while time.monotonic() < until_s:
            has_ticked = ask(client, "GET", f"{at}/triggers/thing")["reason"] != ""
            is_running = ask(client, "GET", f"{at}/runs/{run['id']}")["state"] == "running"
            revisions = ask(client, "GET", f"{at}/endpoints/thing")["revisions"]
            has_begun = "sleep" in [process.name() for process in platform.processes()]
            if has_ticked and is_running and has_begun and [revision["state"] for revision in revisions] == ["live"]:
                platform.started = _to_go_on(platform.processes())
                return
            time.sleep(0.05)
        raise Unavailable(f"the run does not run, or the endpoint does not answer: {revisions}")


def _to_go_on(processes: list[psutil.Process]) -> dict[str, psutil.Process]:
    """The oldest of each of `TO_GO_ON`: a young one of the same name is a fork that has not become its program yet."""
    found: dict[str, psutil.Process] = {}
    for process in sorted(processes, key=psutil.Process.create_time, reverse=True):
        with contextlib.suppress(psutil.Error):
            found |= {name: process for name in TO_GO_ON if name in process.cmdline()}
    return found


def version(client: httpx.Client, at: str) -> dict[str, Any]:
    """A version of model `thing`, its files uploaded."""
    files = {"model.onnx": linear_onnx(), "card.md": b"# thing"}
    digests = {}
    for name, content in files.items():
        answer = client.post(
            f"/api/v1{at}/blobs", content=content, headers={"content-type": "application/octet-stream"}
        )
        digests[name] = answer.raise_for_status().json()["digest"]
    return {
        "model": "thing",
        "files": digests,
        "signature": {
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 1]}],
            "features": ["age", "income"],
        },
        "evaluation": msgspec.to_builtins(evaluation()),
        "gate": {},
    }


def ask(client: httpx.Client, method: str, path: str, body: Any = None) -> Any:
    """The decoded answer of a request that must be taken."""
    answer = client.request(method, f"/api/v1{path}", json=body)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None
