"""Replicas that an engine runs, behind a real gateway of a real platform: found, asked by TLS alone, replaced, let go."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.safety.tokens import PREFIX
from sill.testing.grpc_client import INFER, GrpcLine
from sill.testing.live import PROJECT, Live, ask, version

PATH = "/v2/models/thing/infer"
BODY = {"inputs": [{"name": "input", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
TENSOR = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, (1, 2))
QUESTION = write_text(1, "thing") + write_bytes(5, TENSOR) + write_bytes(7, struct.pack("<2f", 1, 2))
LONG_S = 60.0


class House:
    """The platform, and what the tests look at."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.root = live.client("root")
        self.asking = httpx.Client(base_url=live.inference_url, headers=self.headers, trust_env=False, timeout=30)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.live.tokens['root']}", "x-sill-project": PROJECT}

    def runs(self, state: str = "running") -> list[dict[str, Any]]:
        return ask(self.root, "GET", f"/projects/sill-serving/runs?kind=serve&state={state}")["items"]

    def processes(self) -> list[psutil.Process]:
        """The replicas', the oldest first."""
        found = [each for each in self.live.processes() if each.cmdline()[-2:] == ["--listen", "run"]]
        return sorted(found, key=psutil.Process.create_time)

    def ports(self) -> list[int]:
        """Where the oldest replica listens."""
        listening = [each.laddr.port for each in self.processes()[0].net_connections("tcp") if each.status == "LISTEN"]
        return sorted(listening)

    def admitted(self) -> set[str]:
        """Names of the replicas that get requests."""
        try:
            lines = self.asking.get("/metrics").text.splitlines()
        except httpx.HTTPError:
            return set()
        found = [line for line in lines if line.startswith("sill_gateway_replica_admitted{") and line.endswith(" 1")]
        return {line.partition('replica="')[2].partition('"')[0] for line in found}

    def until(self, what: Callable[[], bool], seconds: float = LONG_S) -> None:
        until_s = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < until_s, self.live.log()[-4_000:]
            time.sleep(0.05)

    def close(self) -> None:
        self.root.close()
        self.asking.close()


@contextlib.contextmanager
def house_in(folder: Path, replicas: int, **settings: str) -> Iterator[House]:
    """A platform whose one endpoint answers on so many replicas, as long as the block lasts."""
    live = Live(folder / "home", SILL_CPUS="8", SILL_MEMORY_BYTES="32000000000", SILL_REPLICA_CPUS="0.5", **settings)
    try:
        found = House(live.start())
        ask(found.root, "POST", "/projects", {"project": PROJECT})
        at = f"/projects/{PROJECT}"
        ask(found.root, "PUT", f"{at}/endpoints/thing", {"project": PROJECT, "name": "thing", "model": "thing"})
        ask(found.root, "POST", f"{at}/models/thing/versions", version(found.root, at))
        found.until(lambda: found.asking.post(PATH, json=BODY).status_code == 200 and len(found.admitted()) == replicas)
        yield found
        found.close()
    finally:
        live.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_in(tmp_path_factory.mktemp("engine"), 2, SILL_REPLICAS="runs:2") as found:
        yield found


@contextlib.asynccontextmanager
async def meanwhile(house: House, pause_s: float = 0.005) -> AsyncIterator[Counter[int]]:
    """Four clients that ask all the time; how often which status came, once it is over."""
    seen: Counter[int] = Counter()
    is_over = False

    async def ask_on(client: httpx.AsyncClient) -> None:
        while not is_over:
            seen[(await client.post(PATH, json=BODY)).status_code] += 1
            await asyncio.sleep(pause_s)

    given = {"base_url": house.live.inference_url, "headers": house.headers, "trust_env": False, "timeout": 30}
    async with httpx.AsyncClient(**given) as client, asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask_on(client))
        try:
            yield seen
        finally:
            is_over = True


def test_replicas_are_runs_with_their_queue_their_use_and_no_secrets_in_them(house: House) -> None:
    runs = house.runs()

    assert len(runs) == 2
    assert {run["kind"] for run in runs} == {"serve"}
    assert {run["spec"]["resources"]["cpus"] for run in runs} == {0.5}
    assert PREFIX not in str(runs)
    assert house.admitted() == {f"{run['id']}.1" for run in runs}


def test_a_person_cannot_submit_one(house: House) -> None:
    spec = {"kind": "serve", "command": ["printenv", "SILL_TOKEN"]}
    answer = house.root.post(f"/api/v1/projects/{PROJECT}/runs", json=spec)

    assert answer.status_code == 400
    assert "platform alone" in answer.text


def test_grpc_goes_through(house: House) -> None:
    project = (b"x-sill-project", PROJECT.encode())
    with GrpcLine(house.live.port + 2) as line:
        assert line.ask(QUESTION, INFER, project, token=house.live.tokens["root"])[0] == 0


def test_nobody_but_the_gateway_reaches_a_replica(house: House) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    asked = (
        f"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nauthorization: {house.headers['authorization']}\r\n\r\n"
    )

    for port in house.ports():
        with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
            line.sendall(asked.encode())
            assert b"HTTP" not in _heard(line)
        with (
            contextlib.suppress(ssl.SSLError),
            socket.create_connection(("127.0.0.1", port), timeout=10) as line,
            bare.wrap_socket(line) as wrapped,
        ):
            wrapped.sendall(asked.encode())
            assert _heard(wrapped) == b""


@pytest.mark.anyio
async def test_a_replica_that_is_killed_fails_no_request_and_another_run_follows(house: House) -> None:
    before = house.admitted()
    async with meanwhile(house) as seen:
        house.processes()[0].kill()
        await asyncio.to_thread(house.until, lambda: len(house.admitted() - before) == 1 and len(house.admitted()) == 2)

    assert set(seen) == {200}, seen


@pytest.mark.anyio
async def test_a_replica_whose_run_is_cancelled_answers_what_it_has_and_another_follows(house: House) -> None:
    before = house.admitted()
    run_id = house.runs()[0]["id"]
    async with meanwhile(house) as seen:
        await asyncio.to_thread(ask, house.root, "POST", f"/projects/sill-serving/runs/{run_id}/cancel")
        await asyncio.to_thread(house.until, lambda: len(house.admitted() - before) == 1 and len(house.admitted()) == 2)

    assert set(seen) == {200}, seen


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_stopped_replica_is_passed_over_and_its_run_replaced(house: House) -> None:
    before = house.admitted()
    async with meanwhile(house) as seen:
        house.processes()[0].send_signal(signal.SIGSTOP)
        await asyncio.to_thread(house.until, lambda: len(house.admitted() - before) == 1 and len(house.admitted()) == 2)

    assert set(seen) == {200}, seen


@pytest.mark.anyio
async def test_told_to_renew_every_replica_is_replaced_and_no_request_fails(house: House) -> None:
    before = house.admitted()
    gateway = next(each for each in house.live.processes() if each.cmdline()[-1] == "sill.gateway")
    async with meanwhile(house) as seen:
        gateway.send_signal(signal.SIGHUP)
        await asyncio.to_thread(house.until, lambda: len(house.admitted()) == 2 and not house.admitted() & before)

    assert set(seen) == {200}, seen


def test_without_a_control_plane_the_replicas_answer_also_behind_a_new_gateway(house: House) -> None:
    before = house.admitted()
    house.live.kill()
    try:
        assert house.asking.post(PATH, json=BODY).status_code == 200
        gateway = next(each for each in house.live.processes() if each.cmdline()[-1] == "sill.gateway")
        environment = gateway.environ()
        gateway.kill()
        gateway.wait()
        with subprocess.Popen([sys.executable, "-m", "sill.gateway"], env=os.environ | environment) as again:
            house.until(lambda: house.admitted() == before)
            assert house.asking.post(PATH, json=BODY).status_code == 200
            again.terminate()
    finally:
        house.live.start()
    house.until(lambda: house.admitted() == before)


@pytest.mark.anyio
@pytest.mark.slow
async def test_replica_runs_follow_the_load_and_none_that_ends_fails_a_request(tmp_path: Path) -> None:
    with house_in(tmp_path, 1, SILL_REPLICAS="runs:1-2", SILL_REPLICA_IN_FLIGHT="0.5") as house:
        async with meanwhile(house, pause_s=0.0) as seen:
            await asyncio.to_thread(house.until, lambda: len(house.admitted()) == 2)
        async with meanwhile(house, pause_s=1.0) as seen_after:
            await asyncio.to_thread(house.until, lambda: len(house.runs()) == 1, 2 * LONG_S)

    assert set(seen + seen_after) == {200}


def _heard(line: socket.socket) -> bytes:
    try:
        return line.recv(1_000)
    except OSError:
        return b""
