"""The other inference processes that share the public port: asked for what they count, over sockets in their folders."""

import asyncio
import contextlib
import ssl
from pathlib import Path

from sill.api.adding_up import COUNTING_S
from sill.api.child_process import is_alive
from sill.api.heartbeat import processes_of
from sill.api.inference_sockets import SOCKET_FILE, socket_path

ANSWER_BYTES_MAX = 64 * 1024 * 1024


class Siblings:
    """Those beside one process.

    Args:
        folder: of the first; the others' lie in it.
        own: of this process.
        has_tls: whether they speak TLS on all their sockets.
    """

    def __init__(self, folder: Path, own: Path, *, has_tls: bool) -> None:
        self._folder = folder
        self._own = own
        self.own_name = own.name
        self._tls = _unchecked() if has_tls else None

    async def ask(self, path: str, authorization: bytes) -> dict[str, bytes]:
        """The bodies of their answers by their names; those that do not answer 200 in time are left out."""
        head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: ".encode()
        content = head + authorization + b"\r\n\r\n"
        others = sorted(other for other in processes_of(self._folder) - {self._own} if is_alive(other))
        answers = await asyncio.gather(*(self._one(other, content) for other in others))
        return {other.name: body for other, body in zip(others, answers, strict=True) if body}

    async def _one(self, other: Path, content: bytes) -> bytes:
        with contextlib.suppress(OSError):  # a timeout is one too
            async with asyncio.timeout(COUNTING_S):
                place = socket_path(other, SOCKET_FILE)
                reader, writer = await asyncio.open_unix_connection(
                    place, limit=ANSWER_BYTES_MAX, ssl=self._tls, server_hostname="localhost" if self._tls else None
                )
                try:
                    writer.write(content)
                    head, _, body = (await reader.read(ANSWER_BYTES_MAX)).partition(b"\r\n\r\n")
                    while more := await reader.read(ANSWER_BYTES_MAX):
                        body += more
                    return body if head[9:12] == b"200" else b""
                finally:
                    writer.close()
        return b""


def _unchecked() -> ssl.SSLContext:
    """Nobody else can listen in a folder of ours: there is nothing to check."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
