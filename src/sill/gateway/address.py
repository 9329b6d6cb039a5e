"""Where a replica answers: on a Unix socket of this machine, or at host and port, in the clear or by TLS."""

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple


class Address(NamedTuple):
    """One place.

    Attributes:
        path: of a Unix socket, asked for each time: it may change with the open folders of this process.
        tls: what knows the replica's certificate; None for no TLS.
    """

    host: str = ""
    port: int = 0
    path: Callable[[], str] | None = None
    tls: ssl.SSLContext | None = None

    async def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """Connect a protocol to it.

        Raises:
            OSError: nobody answers there, or it is somebody else.
        """
        loop = asyncio.get_running_loop()
        if self.path is not None:
            await loop.create_unix_connection(lambda: protocol, self.path())
        else:
            await loop.create_connection(lambda: protocol, self.host, self.port, ssl=self.tls)


def split_address(name: str) -> tuple[str, int]:
    """Host and port of a replica that is named by them."""
    host, _, port = name.rpartition(":")
    return host.strip("[]"), int(port)
