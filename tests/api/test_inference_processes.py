"""Several inference processes on one port: each is started again when it dies, and each row of the log arrives once."""

import asyncio
import contextlib
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest

from sill.api.child_process import LOCK_FILE
from sill.api.inference_process import InferenceProcess, process_names
from sill.api.serving_life import BEAT_FILE
from sill.core.errors import InvalidValue
from sill.core.settings import Settings, read_settings
from sill.testing.serving_gateway import BODY
from sill.testing.serving_models import TOKEN, Bundle, classifier, make_signer, plan
from sill.testing.serving_plane import ControlStandIn

ASKED = 40
LAST = {"Connection": "close"}


async def ask_often(port: int) -> set[str]:
    """Ids of what was answered, each over a connection of its own."""
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}
    url, headers = f"http://127.0.0.1:{port}/v2/models/churn/infer", {"Authorization": f"Bearer {TOKEN}"}
    ids = [f"asked-{number}" for number in range(ASKED)]
    for each in ids:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            answer = await http.post(url, json={"id": each, "inputs": [tensor]}, headers=headers)
            assert answer.status_code == 200, answer.text
    return set(ids)


async def until_it_beats(folder: Path) -> None:
    """Return when it has shown twice that it lives."""
    async with asyncio.timeout(20):
        seen: set[float] = set()
        while len(seen) < 2:
            await asyncio.sleep(0.02)
            if (folder / BEAT_FILE).exists():
                seen.add((folder / BEAT_FILE).stat().st_mtime)


async def until_another(folder: Path, before: str) -> None:
    """Return when another process has taken the folder, and lives."""
    async with asyncio.timeout(30):
        while (folder / LOCK_FILE).read_text() in ("", before):  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.02)
    await until_it_beats(folder)


async def until_ready(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
                    if (await http.get(f"http://127.0.0.1:{port}/v2/health/ready")).status_code == 200:
                        return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)


class House:
    """Two processes on one port, kept, beside a control stand-in."""

    def __init__(self, folder: Path) -> None:
        signer = make_signer(folder)
        bundle = Bundle(signer, classifier())
        self.control = ControlStandIn(folder / "control")
        self.control.publish(plan(signer, 1, bundle.revision(1, 100)), v1=bundle)
        settings = Settings(home=folder / "home", port=self.control.port, inference_processes="2")
        self.plane = InferenceProcess(settings, TOKEN)
        self.port = settings.inference_port

    async def __aenter__(self) -> "House":
        self.control.start()
        self.keeping = asyncio.create_task(self.plane.run())
        await asyncio.gather(*(until_it_beats(child.folder) for child in self.plane.children))
        await until_ready(self.port)
        return self

    async def stop(self) -> None:
        self.keeping.cancel()
        await asyncio.to_thread(self.plane.stop)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self.control.kill()


@pytest.mark.anyio
async def test_processes_share_a_port_and_each_row_arrives_once(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        victim = house.plane.children[1]
        before = (victim.folder / LOCK_FILE).read_text()
        victim.tell(signal.SIGKILL)
        while victim.is_alive():  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.01)
        asked = await ask_often(house.port)
        await until_another(victim.folder, before)
        await house.stop()  # what ends hands its rows over first

        assert Counter(row.request_id for row in house.control.logged()) == Counter(asked)


@pytest.mark.anyio
async def test_whichever_process_is_asked_tells_what_all_have_counted(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        await ask_often(house.port)
        for _ in range(8):  # the system chooses the process; one that is late is not in what the other tells
            while (counts := await counted(house.port)) != (ASKED, ASKED):
                assert max(counts) <= ASKED


async def counted(port: int) -> tuple[int, int]:
    """Requests by the metrics, and inferences by the statistics, each over a connection of its own."""
    async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics", headers=LAST)).text
        stats = (await http.get(f"http://127.0.0.1:{port}/v2/models/churn/stats", headers=LAST)).json()
    answered = [line for line in text.splitlines() if "requests_total{" in line and 'status="200"' in line]
    return int(sum(float(line.split()[-1]) for line in answered)), stats["model_stats"][0]["inference_count"]


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_process_that_hangs_is_ended_and_started_again(tmp_path: Path) -> None:
    async with House(tmp_path) as house:
        victim = house.plane.children[1]
        before = (victim.folder / LOCK_FILE).read_text()
        victim.tell(signal.SIGSTOP)
        await until_another(victim.folder, before)
        await until_ready(house.port)

        assert await ask_often(house.port)


async def ask_until(port: int, over: asyncio.Event, *, keeps: bool) -> list[int]:
    """Statuses of plain requests that are never repeated; 0 for one that got no answer.

    Args:
        keeps: use a connection again, unless an answer says that it was its last.
    """
    statuses: list[int] = []
    head = (
        f"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    )
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while not over.is_set():
        try:
            reader, writer = line = line or await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode() + BODY)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            statuses.append(int(answer[9:12]))
            is_last = not keeps or b"\r\nconnection: close" in answer
        except (OSError, asyncio.IncompleteReadError):
            statuses.append(0)
            is_last = True
        await asyncio.sleep(0.01)
        if line is not None and (is_last or over.is_set()):
            line[1].close()
            with contextlib.suppress(OSError):
                await line[1].wait_closed()
            line = None
    return statuses


@pytest.mark.slow
@pytest.mark.anyio
async def test_processes_of_a_port_are_replaced_one_by_one_without_a_failed_request(tmp_path: Path) -> None:
    over = asyncio.Event()
    async with House(tmp_path) as house:
        asking = [asyncio.create_task(ask_until(house.port, over, keeps=number % 2 == 0)) for number in range(8)]
        for child in house.plane.children:
            before = (child.folder / LOCK_FILE).read_text()
            child.tell(signal.SIGTERM)
            await until_another(child.folder, before)
        over.set()

        assert {status for seen in await asyncio.gather(*asking) for status in seen} == {200}


def test_the_first_process_keeps_the_folder_it_always_had() -> None:
    assert process_names(3) == ["", "replica-2", "replica-3"]


@pytest.mark.parametrize("given", ["0", "65", "-1", "many", "1.5"])
def test_a_number_of_processes_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(InvalidValue, match="SILL_INFERENCE_PROCESSES"):
        read_settings({"SILL_INFERENCE_PROCESSES": given})
