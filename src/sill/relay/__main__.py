"""`python -m sill.relay FOLDER [MORE …]`: serves one relay until it is told to end, then sends what is left.

Its orders come as JSON on standard input, so that no secret stands in a command line or an environment. The journal lies
in a folder of its own in FOLDER. What other journals in these folders still hold (those of the SDK in the same run, and
of attempts that were lost) is sent at the start and at the end.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn

from sill.core.errors import Conflict, SillError
from sill.relay.app import Relay, present
from sill.relay.known import Known, KnownRun
from sill.relay.passing import Passage
from sill.safety.gate import Gate
from sill.safety.gate_rules import GateLimits
from sill.safety.listener import uvicorn_config
from sill.sdk.carrying import Carrier
from sill.sdk.journal import BYTES_MAX, Journal
from sill.sdk.journal_files import Entry
from sill.sdk.made import name_made
from sill.sdk.mlflow_batches import pack
from sill.sdk.sending import Sender
from sill.sdk.spool_place import read_place, write_place

FAILED = 1
ORDER_BYTES_MAX = 1024**2
SWITCH_S = 0.0005
"""How long the sending thread may keep the interpreter while a client waits."""
UPLOAD_BYTES_MAX = 1024**4
"""A file is bounded by the journal's room, not by the gate."""
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})

_log = logging.getLogger("sill.relay")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a relay is told.

    Attributes:
        url, token: the server, and the token to show there.
        name: of the relay's own journal in the folder; one process at a time has it.
        secret: the token that clients must show here.
        fd: a socket that listens already; otherwise one is opened on `port` of the loopback (0 for any).
        project: what calls are about that do not say it; the token's own project when empty.
        run: a run the relay may speak of although it has not seen it yet.
        drain_s: how long it goes on sending after it was told to end.
        is_drain_only: serve nobody; send what the journals in the folder hold and end.
    """

    url: str
    token: str
    name: str = "relay"
    secret: str = ""
    fd: int = -1
    port: int = 0
    bytes_max: int = BYTES_MAX
    project: str = ""
    run: KnownRun | None = None
    drain_s: float = 10.0
    is_drain_only: bool = False
    tells_address: bool = False


def main() -> int:
    """0 once everything was sent, 1 if something is left."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    folder, *more = (Path(each) for each in sys.argv[1:])
    order = msgspec.json.decode(sys.stdin.buffer.read(ORDER_BYTES_MAX), type=Order)
    os.umask(0o077)
    sys.setswitchinterval(SWITCH_S)
    until_s = time.monotonic() + order.drain_s
    left = 0
    if order.is_drain_only:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever started it died: there is all the more to send
    else:
        own = folder / order.name
        threading.Thread(
            target=drain_others, args=([folder, *more], order, until_s, own), name="sill-left", daemon=True
        ).start()
        left += serve(own, order)
        until_s = time.monotonic() + order.drain_s
    return FAILED if left + drain_others([folder, *more], order, until_s) else 0


def drain_others(folders: Sequence[Path], order: Order, until_s: float, without: Path | None = None) -> int:
    """Send what journals in the folders hold that nobody has open, such as those of processes that were killed."""
    found = sorted({path.parent for folder in folders for path in folder.glob("*/lock")} - {without})
    return sum(drain(journal, order, until_s) for journal in found)


def serve(folder: Path, order: Order) -> int:
    """Serve until told to end, then send what is left; how much could not be sent."""
    sender, known = open_sender(folder, order)
    if order.run is not None and order.run.info.run_id not in known.runs:
        known.runs[order.run.info.run_id] = order.run
    passage = Passage(lambda: carrier(order), sender.provisional)
    relay = Relay(sender, known, passage, order.secret, order.project)
    limits = GateLimits(body_bytes_max=UPLOAD_BYTES_MAX)
    gate = Gate(relay, hosts=HOSTS, limits=limits, authenticate=relay.authenticate, present=present)
    bound = socket.socket(fileno=order.fd) if order.fd >= 0 else _bind(order.port)
    sender.start()
    asyncio.run(_Server(uvicorn_config(gate, lifespan="off"), order.tells_address).serve(sockets=[bound]))
    return finish(sender, time.monotonic() + order.drain_s)


def drain(folder: Path, order: Order, until_s: float) -> int:
    """Send what a journal holds that nobody has open; how much could not be sent."""
    place = read_place(folder)
    if place.url not in ("", order.url):
        return 0  # meant for another server
    try:
        sender, _ = open_sender(folder, order)
    except Conflict:
        return 0  # its process lives and sends it
    if sender.journal.waiting == 0:
        sender.journal.close()
        return 0
    sender.start()
    return finish(sender, until_s)


def finish(sender: Sender, until_s: float) -> int:
    """Wait until the journal is empty, the time has passed, or the server does not take the token; what is left in it."""
    sender.drain(until_s - time.monotonic(), is_patient=True)
    left = sender.journal.waiting
    sender.stop()
    if left or sender.refused:
        _log.warning("%d calls wait in %s, %d were refused", left, sender.journal.folder, sender.refused)
    return left


def open_sender(folder: Path, order: Order) -> tuple[Sender, Known]:
    """The journal in the folder with its sender, and what is known of what it holds."""
    known = Known(folder / "known.json") if folder.is_dir() else Known(_made(folder) / "known.json")
    journal = Journal(folder, order.bytes_max)
    write_place(folder, order.url)

    def distrust(entry: Entry) -> None:
        run = known.runs.get(entry.lane.rpartition(" ")[2])
        if run is not None:
            run.is_trusted = False

    server = carrier(order)
    return Sender(journal, server, pack, lambda entry, answer: name_made(server, entry, answer), distrust), known


def carrier(order: Order) -> Carrier:
    """A way to the server."""
    return Carrier(order.url, {"Authorization": f"Bearer {order.token}"})


class _Server(uvicorn.Server):
    """uvicorn's, which ends at the first signal and does not raise it again: there is something left to do."""

    def __init__(self, config: uvicorn.Config, tells_address: bool) -> None:
        super().__init__(config)
        self._tells_address = tells_address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        if self._tells_address and sockets:
            print(f"http://127.0.0.1:{sockets[0].getsockname()[1]}", flush=True)

    def capture_signals(self):  # type: ignore[no-untyped-def]  # a context manager of uvicorn's
        return _Signals(self)


class _Signals:
    def __init__(self, server: uvicorn.Server) -> None:
        self._server = server

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def __exit__(self, *_: object) -> None:
        """It ends by itself now, once all is sent; Ctrl-C ends that too: what waits is on disk."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._server.should_exit = True


def _bind(port: int) -> socket.socket:
    # With the protocol named, asyncio switches Nagle's delay off: an answer in two pieces would wait 40 ms for the second.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SillError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(FAILED)
