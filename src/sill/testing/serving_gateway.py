"""A real gateway with real replicas behind it, for tests and for the drill."""

import asyncio
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from sill.testing.serving_models import TOKEN
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest

BODY = msgspec.json.encode(
    {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}
)


class GatewayUnderTest(InferenceUnderTest):
    """The real process, `python -m sill.gateway`, and what it started."""

    def __init__(self, home: Path, control: ControlStandIn, replicas: int = 2, most: int = 0) -> None:
        super().__init__(home, control)
        self.replicas = replicas
        self.environment["SILL_REPLICAS"] = f"{replicas}-{most}" if most else str(replicas)

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "sill.gateway"], env=self.environment)
        self.until(lambda: self.count("sill_gateway_replica_admitted") == self.replicas, 30)

    def count(self, name: str) -> float:
        """The sum of a metric's values; -1 if the gateway does not tell."""
        try:
            answer = self.http.get("/metrics")
        except Exception:
            return -1
        if answer.status_code != 200:
            return -1
        lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if line.startswith(name)]
        return sum(float(value) for _, value in lines)

    def buckets(self, name: str) -> dict[float, float]:
        """A histogram's counts by the upper bounds of its buckets."""
        lines = [line for line in self.http.get("/metrics").text.splitlines() if line.startswith(name + "{")]
        parts = [line.replace('"', " ").split() for line in lines]
        return {float(bound): float(count) for _, bound, *_, count in parts}

    def process_ids(self) -> list[int]:
        """Of the replicas that are alive."""
        assert self.process is not None
        return [child.pid for child in psutil.Process(self.process.pid).children() if child.status() != "zombie"]

    def stop(self) -> None:
        """End the gateway; it ends its replicas."""
        if self.process is not None:
            left: list[psutil.Process] = []
            with suppress(psutil.NoSuchProcess):  # a test has ended it
                left = psutil.Process(self.process.pid).children()
            for child in left:
                child.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(30)
            self.process = None
            _, alive = psutil.wait_procs(left, timeout=5)
            assert alive == []

    async def ask_for(self, seconds: float, connections: int = 8, pause_s: float = 0.005) -> dict[int, int]:
        """Ask over so many plain connections; answers by status, 0 for a connection that ended without one."""
        statuses: dict[int, int] = {}
        until_s = asyncio.get_running_loop().time() + seconds

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            head = (
                f"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
            )
            while asyncio.get_running_loop().time() < until_s:
                try:
                    writer.write(head.encode() + BODY)
                    answer = await reader.readuntil(b"\r\n\r\n")
                    length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                    await reader.readexactly(length)
                    status = int(answer[9:12])
                except (OSError, asyncio.IncompleteReadError):
                    status = 0
                statuses[status] = statuses.get(status, 0) + 1
                if status == 0:
                    break
                await asyncio.sleep(pause_s)
            writer.close()

        await asyncio.gather(*(one() for _ in range(connections)))
        return statuses
