"""One more client beside a flood, in a process of its own that has next to nothing to do: how long its answers take.

`python -m drill.prober PORT SECONDS` with a request on its standard input. Of each answer it writes down when the system
had it, by the kernel's own clock, and when it was read: what lies between is not the server's, but a wait of the client
for a processor, which a client on another machine does not have.
"""

import asyncio
import selectors
import socket
import struct
import sys
import time

import msgspec

EVERY_S = 0.01
LINES_MAX = 120
"""Connections at once: those that are let in take up to a second."""
ADDRESSES = 20
ENDS_S = 5.0
"""How long is waited for the last answers."""
TIMESTAMP_NS = 35
"""SO_TIMESTAMPNS of <asm-generic/socket.h>; the module `socket` does not name it."""


class Probe(msgspec.Struct, frozen=True):
    """One answer: its status, and the seconds from the request until the system had it, and until it was read."""

    status: int
    arrived_s: float
    read_s: float


async def probe(port: int, seconds: float, content: bytes) -> list[Probe]:
    """Run one for so long."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drill.prober", str(port), str(seconds), stdin=pipe, stdout=pipe
    )
    told, _ = await process.communicate(content)
    return msgspec.json.decode(told, type=list[Probe])


class _Line:
    """A connection, one request at a time."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.socket()
        self.socket.bind((f"127.0.3.{1 + number}", 0))
        self.socket.setsockopt(socket.SOL_SOCKET, TIMESTAMP_NS, 1)
        self.socket.connect(("127.0.0.1", port))
        self._data = b""
        self._asked_ns = 0

    def ask(self, content: bytes) -> None:
        """Send a request."""
        self._data, self._asked_ns = b"", time.time_ns()
        self.socket.sendall(content)

    def read(self) -> Probe | None:
        """What came; None if there is more to come.

        Raises:
            ConnectionError: the server hung up.
        """
        piece, said, _, _ = self.socket.recvmsg(64 * 1024, 64)
        read_ns = time.time_ns()
        if not piece:
            raise ConnectionError
        self._data += piece
        head, _, body = self._data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if not length or len(body) < int(length):
            return None
        arrived_ns = read_ns  # the system begins to note times only a moment after it was asked to
        if said:
            seconds, nanoseconds = struct.unpack("ll", said[0][2][:16])
            arrived_ns = seconds * 1_000_000_000 + nanoseconds
        return Probe(int(head[9:12]), (arrived_ns - self._asked_ns) / 1e9, (read_ns - self._asked_ns) / 1e9)


class Prober:
    """Asks one thing now and then, over as many connections as it needs."""

    def __init__(self, port: int, content: bytes) -> None:
        self._port = port
        self._content = content
        self._lines = selectors.DefaultSelector()
        self._idle: list[_Line] = []
        self._made = self._busy = 0
        self.probes: list[Probe] = []

    def run(self, seconds: float) -> list[Probe]:
        """Ask for so long; the answers."""
        due_s = time.monotonic()
        end_s = due_s + seconds
        while (now_s := time.monotonic()) < end_s + ENDS_S * (self._busy > 0):
            if due_s <= now_s < end_s and self._busy < LINES_MAX:
                self._ask()
                due_s = max(due_s + EVERY_S, now_s)
            wait_s = due_s - now_s if now_s < end_s else EVERY_S
            for key, _ in self._lines.select(max(wait_s, 0.0)):
                self._read(key.data)
        return self.probes

    def _ask(self) -> None:
        line = self._idle.pop() if self._idle else self._open()
        line.ask(self._content)
        self._busy += 1

    def _open(self) -> _Line:
        self._made += 1
        line = _Line(self._port, self._made % ADDRESSES)
        self._lines.register(line.socket, selectors.EVENT_READ, line)
        return line

    def _read(self, line: _Line) -> None:
        """What came on a line: an answer, a part of it, or the end of a connection that was used too little."""
        try:
            probe = line.read()
        except OSError:
            self._close(line)
            return
        if probe is not None:
            self.probes.append(probe)
            self._busy -= 1
            self._idle.append(line)

    def _close(self, line: _Line) -> None:
        if line in self._idle:
            self._idle.remove(line)
        else:
            self.probes.append(Probe(0, 0.0, 0.0))
            self._busy -= 1
        self._lines.unregister(line.socket)
        line.socket.close()


if __name__ == "__main__":
    told = Prober(int(sys.argv[1]), sys.stdin.buffer.read()).run(float(sys.argv[2]))
    sys.stdout.buffer.write(msgspec.json.encode(told))
