"""Webhooks over a registry in a folder of its own, and a receiver that writes down what it gets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sill.core.clock import ManualClock
from sill.safety.outbound import Outbound
from sill.safety.secrets import SecretBox
from sill.testing.platform import Platform, open_platform
from sill.webhooks.service import Deliveries, Webhooks


class Receiver:
    """A little HTTP server."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.more = b""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 4\r\n%s\r\ntook" % (self.status, self.more))
        writer.close()


@pytest.fixture
async def platform(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Platform]:
    with open_platform(tmp_path, ManualClock()) as opened:
        yield opened


@pytest.fixture
async def receiver(anyio_backend: str) -> AsyncIterator[Receiver]:
    made = Receiver()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
def build(platform: Platform, tmp_path: Path) -> Callable[..., Webhooks]:
    """Webhooks that may call what is allowed."""

    def make(allow: str = "") -> Webhooks:
        outbound = Outbound(allow)
        deliveries = Deliveries(platform.database, outbound, platform.clock)
        box = SecretBox(tmp_path / "keys" / "master.key")
        return Webhooks(platform.database, platform.models, outbound, box, platform.clock, platform.ids, deliveries)

    return make


@pytest.fixture
def webhooks(build: Callable[..., Webhooks], receiver: Receiver) -> Webhooks:
    return build(f"127.0.0.1:{receiver.port}")
