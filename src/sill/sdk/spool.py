"""What a process logs, on disk until the server has it: `put` returns at once, a thread of its own sends.

Spools lie in the run's folder, or else in the home. What a process leaves behind when it is killed is sent by the next
one that looks: the supervisor at the end of its run, or `sill spool flush`.
"""

import atexit
import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from sill.core.errors import Conflict, InvalidValue, SillError
from sill.core.settings import read_settings
from sill.sdk.carrying import Answer, Carrier
from sill.sdk.client import Client
from sill.sdk.journal import Journal
from sill.sdk.journal_files import DAMAGED, Entry, read_refusals
from sill.sdk.made import name_made
from sill.sdk.mlflow_batches import pack
from sill.sdk.sending import Sender
from sill.sdk.spool_place import read_place, write_place

EXIT_S = 10.0
"""How long the end of the process waits for what is left, while the server answers."""
ATTEND_S = 10.0
LEFT_S = 600.0
PIECE_BYTES = 1024 * 1024


class SpoolState(msgspec.Struct, frozen=True, kw_only=True):
    """One spool on disk.

    Attributes:
        url: where it goes; empty if that is not known.
        waiting: requests that have not arrived; -1 if another process is sending them.
        refused: requests that the server would not take.
        damaged: files of bytes that are not what was written.
    """

    folder: str
    url: str = ""
    waiting: int = 0
    size_bytes: int = 0
    refused: int = 0
    damaged: int = 0


class Spool:
    """The spool of this process to one server.

    Args:
        client: says where the server is and shows the token.
        folder: where spools lie; `spools_folder()` when not given.
    """

    def __init__(self, client: Client, folder: Path | None = None, bytes_max: int = 0) -> None:
        self._client = client
        self._folder = folder or spools_folder()
        self._bytes_max = bytes_max or read_settings().spool_bytes_max
        self._lock = threading.Lock()
        self._pid = 0
        self._sender: Sender | None = None
        self._real: dict[str, str] = {}
        atexit.register(self.close)

    @property
    def sender(self) -> Sender:
        """What sends. A process that was forked off gets a journal of its own."""
        with self._lock:
            if self._sender is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._sender = self._open()
            return self._sender

    def put(self, entry: Entry) -> None:
        """Keep a request; it has left this process when this returns, and is sent in its turn.

        Raises:
            Limited: the spool has no room until something was delivered.
        """
        self.sender.journal.append(entry)

    def ask(self, entry: Entry) -> Answer | None:
        """Keep a request and wait for the server's answer; None if it is away or slow: it is sent in its turn then."""
        sender = self.sender
        outcome = sender.submit(entry)
        try:
            return outcome.result(ATTEND_S)
        except TimeoutError:
            sender.give_up_waiting()
            return None

    def put_file(self, entry: Entry, content: Iterator[bytes]) -> None:
        """Keep a request with a body of any length, as much as there is room for.

        Raises:
            Limited: there is not.
        """
        journal = self.sender.journal
        attachment = journal.attach()
        try:
            for piece in content:
                attachment.write(piece)
            attachment.close()
            sent = msgspec.structs.replace(entry, attachment=attachment.name, attachment_bytes=attachment.size_bytes)
            journal.append(sent, is_durable=True)
        except BaseException:
            attachment.discard()
            raise

    def new_id(self) -> str:
        """An id for what is made while the server may be away."""
        return self.sender.provisional.new()

    def real_id(self, given: str) -> str:
        """What the server calls it; the id itself as long as it has not said."""
        known = self._sender.provisional.known if self._sender is not None else self._real
        return known.get(given, given)

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything has arrived; False if the time passed before."""
        return self._sender is None or self._pid != os.getpid() or self._sender.drain(timeout_s, is_patient=True)

    def close(self) -> None:
        """Send what is left as long as the server answers, at most ten seconds; the rest stays on disk."""
        atexit.unregister(self.close)
        with self._lock:
            sender, self._sender = self._sender, None
        if sender is None or self._pid != os.getpid():
            return
        sender.drain(EXIT_S)
        sender.stop()
        self._real = sender.provisional.known
        remove_if_done(sender.journal.folder)

    def _open(self) -> Sender:
        folder = self._folder / f"sdk-{self._pid}-{secrets.token_hex(4)}"
        journal = Journal(folder, self._bytes_max)
        write_place(folder, self._client.url)
        sender = open_sender(journal, self._client)
        sender.start()
        left = threading.Thread(target=send_left, args=(self._folder, self._client), name="sill-left", daemon=True)
        left.start()
        return sender


def spools_folder() -> Path:
    """Where spools lie: in the run's folder inside a run, otherwise in the home."""
    run = os.environ.get("SILL_RUN_FOLDER", "")
    return (Path(run) if run else read_settings().home) / "spool"


def open_sender(journal: Journal, client: Client) -> Sender:
    """A sender of the journal to the client's server."""
    carrier = Carrier(client.url, client.authorization)
    return Sender(journal, carrier, pack, lambda entry, answer: name_made(carrier, entry, answer))


def spools(home: Path) -> list[Path]:
    """Every spool of this machine's home: of processes, of relays, and of runs."""
    found = [*home.glob("spool/*/lock"), *home.glob("runs/*/*/spool/*/lock")]
    return sorted(path.parent for path in found)


def look(folder: Path) -> SpoolState:
    """How a spool stands; also one that is open in another process, as far as that can be seen."""
    refused, damaged = len(read_refusals(folder)), len(list(folder.glob(f"*{DAMAGED}")))
    known = SpoolState(folder=str(folder), url=read_place(folder).url, refused=refused, damaged=damaged)
    try:
        journal = Journal(folder)
    except Conflict:
        size = sum(path.stat().st_size for path in folder.glob("*.log"))
        return msgspec.structs.replace(known, waiting=-1, size_bytes=size)
    try:
        return msgspec.structs.replace(known, waiting=journal.waiting, size_bytes=journal.size_bytes)
    finally:
        journal.close()


def flush(
    folder: Path, client: Client, timeout_s: float, on_sent: Callable[[int], None] = lambda _left: None
) -> SpoolState:
    """Send what a spool holds with the client's token.

    Args:
        on_sent: told now and then how many requests are left.
    Raises:
        InvalidValue: it is meant for another server.
        Conflict: another process is sending it.
    """
    _check_place(folder, client)
    sender = open_sender(Journal(folder), client)
    sender.start()
    until_s = time.monotonic() + timeout_s
    while sender.journal.waiting and time.monotonic() < until_s and not (sender.is_away or sender.is_unwelcome):
        on_sent(sender.journal.waiting)
        sender.drain(0.2)
    sender.stop()
    state = look(folder)
    remove_if_done(folder)
    return state


def send_left(folder: Path, client: Client) -> None:
    """Send what processes that ended have left in the folder for the client's server; what cannot be sent stays."""
    for left in sorted(path.parent for path in folder.glob("*/lock")):
        with contextlib.suppress(SillError, OSError):
            if read_place(left).url == client.url:
                flush(left, client, LEFT_S)


def retry(folder: Path, client: Client) -> int:
    """Put what the server refused at the end of its spool again, to be flushed; how many requests.

    Raises:
        InvalidValue: it is meant for another server.
        Conflict: another process has the spool open.
    """
    _check_place(folder, client)
    journal = Journal(folder)
    try:
        return journal.retry_refused()
    finally:
        journal.close()


def remove_if_done(folder: Path) -> None:
    """Remove a spool with nothing left in it that anybody could miss."""
    state = look(folder)
    if state.waiting == 0 and not state.refused and not state.damaged:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are there
            folder.parent.rmdir()


def pieces(path: Path) -> Iterator[bytes]:
    """A file's bytes, a MiB at a time."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _check_place(folder: Path, client: Client) -> None:
    url = read_place(folder).url
    if url and url != client.url:
        raise InvalidValue(
            f"what waits in {folder} is meant for {url}, not for {client.url}.", fix=f"Set SILL_URL={url}."
        )
