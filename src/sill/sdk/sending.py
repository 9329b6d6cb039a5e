"""Sends what a journal holds, in order, until the server has it: one request at a time, in a thread of its own.

A request that was sent and not answered is repeated as it was, under the same idempotency key, so that it counts once.
What the server refuses is kept aside with the reason, and the rest goes on. While the server is away nothing waits:
whoever asked for an answer gets none at once.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import Damaged
from sill.sdk.carrying import AWAY, Answer, Away, Carrier
from sill.sdk.journal import Journal
from sill.sdk.journal_files import Entry, Refusal
from sill.sdk.provisional import Provisional

READ_ENTRIES_MAX = 1_000
READ_BYTES_MAX = 4 * 1024**2
RETRY_S, RETRY_S_MAX = 0.1, 2.0
PATIENCE_S = 600.0
"""How long a request that the server fails at (500) is repeated before it is kept aside and the rest goes on."""
UNAUTHENTICATED = 401
MESSAGE_LENGTH_MAX = 1_000
RESOLVED_BYTES_MAX = 256 * 1024
IDLE_S = 1.0
DRAIN_LOOK_S = 0.01
LINGER_S = 0.03
"""How long points wait for others to travel with, unless somebody waits for an answer."""

_log = logging.getLogger("sill.spool")


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent as one request: the first `count` of the entries that were offered."""

    count: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


Pack = Callable[[Sequence[Entry]], Parcel]
"""Makes a parcel of neighbours of one lane. It takes all of the entries or the first of them, never none."""


def pack_one(entries: Sequence[Entry]) -> Parcel:
    """Each entry travels alone."""
    first = entries[0]
    return Parcel(count=1, method=first.method, path=first.path, headers=first.headers, body=first.body)


class Sender:
    """Empties one journal.

    Args:
        pack: how neighbours of one lane become one request.
        name_made: the id that the server gave, from the answer to an entry that makes something; empty if it gave none.
        on_refused: told, in the sender's thread, which entry the server would not take.
        patience_s: how long a request is repeated that the server fails at.
    """

    def __init__(
        self,
        journal: Journal,
        carrier: Carrier,
        pack: Pack = pack_one,
        name_made: Callable[[Entry, Answer], str] = lambda _entry, _answer: "",
        on_refused: Callable[[Entry], None] = lambda _entry: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.journal = journal
        self.provisional = Provisional(journal.folder / "ids")
        self.is_away = False
        self.why_away = ""
        self.is_unwelcome = False
        """The server does not know the token (any more)."""
        self.refused = 0
        self.lost = 0
        self._carrier = carrier
        self._pack = pack
        self._name_made = name_made
        self._on_refused = on_refused
        self._unsent: list[tuple[int, Entry]] = []
        self._alone_until = 0
        self._patience_s = patience_s
        self._failing_since_s = 0.0
        self._outcomes: dict[int, Future[Answer | None]] = {}
        self._barriers: dict[int, Future[None]] = {}
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to send, in a thread."""
        self._thread = threading.Thread(target=self._run, name="sill-sender", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send no more; what waits stays in the journal."""
        self._stop.set()
        self.journal.close()
        if self._thread is not None:
            self._thread.join()
        self._carrier.close()

    def submit(self, entry: Entry) -> "Future[Answer | None]":
        """Journal an entry, durably; what the server says to it, or None as soon as it is known to be away.

        Raises:
            Limited: the journal is full.
        """
        outcome: Future[Answer | None] = Future()
        with self._lock:
            seq = self.journal.append(entry, is_durable=True)
            if self.is_away:
                outcome.set_result(None)
            else:
                self._outcomes[seq] = outcome
                self._hurry.set()
        return outcome

    def when_settled(self) -> "Future[None] | None":
        """Done once all that waits now has arrived, or the server is known to be away; None if nothing waits."""
        with self._lock:
            if self.is_away or not self.journal.waiting:
                return None
            self._hurry.set()
            return self._barriers.setdefault(self.journal.last, Future())

    def give_up_waiting(self) -> None:
        """The server takes too long: treat it as away until it has answered."""
        self._gone(f"it has not answered for {self.journal.waiting} requests")

    def drain(self, timeout_s: float, *, is_patient: bool = False) -> bool:
        """Wait until nothing waits any more; False if the time passed, or the server does not know the token.

        Args:
            is_patient: wait on while the server is away.
        """
        until_s = time.monotonic() + timeout_s
        self._hurry.set()
        while self.journal.waiting and time.monotonic() < until_s and not self.is_unwelcome:
            if self.is_away and not is_patient:
                break
            time.sleep(DRAIN_LOOK_S)
        return self.journal.waiting == 0

    def _run(self) -> None:
        pause_s = RETRY_S
        while not self._stop.is_set():
            try:
                if not self._step():
                    self.journal.wait(IDLE_S)
                pause_s = RETRY_S
            except Away as gone:
                self._gone(str(gone))
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            except Exception:  # the edge of the thread: nothing that waits is lost by a fault of ours
                _log.exception("the journal %s could not be sent; it is tried again", self.journal.folder)
                self._gone("an error of the sender")
                self._stop.wait(RETRY_S_MAX)

    def _step(self) -> bool:
        """Send one request and settle it; False if nothing waits."""
        self._fill()
        if not self._unsent:
            return False
        parcel, last = self._next_parcel()
        first, entry = self._unsent[0]
        if last != self.journal.sent:
            self.journal.intend(last)
        key = f"{self.journal.id}:{first}" + (f"-{last}" if last > first else "")
        answer = self._send(entry, parcel, key)
        self.is_unwelcome = answer.status == UNAUTHENTICATED
        if answer.status in AWAY or self.is_unwelcome:
            raise Away(f"it answered {answer.status}")
        if answer.status >= 500 and not self._has_failed_long():
            raise Away(f"it answered {answer.status}")
        self._failing_since_s = 0.0
        if answer.is_success or parcel.count == 1:
            self._settle(parcel.count, answer)
        else:
            self._alone_until = last  # one of them is wrong: each is sent by itself, so that only that one is refused
        return True

    def _has_failed_long(self) -> bool:
        """True if the server has failed at this request for too long."""
        now_s = time.monotonic()
        self._failing_since_s = self._failing_since_s or now_s
        return now_s - self._failing_since_s >= self._patience_s

    def _fill(self) -> None:
        """Read on, and let points wait a little for others."""
        if len(self._unsent) < READ_ENTRIES_MAX:
            self._unsent += self._read()
        if self._unsent and self._unsent[0][1].lane and len(self._unsent) < READ_ENTRIES_MAX and not self.is_away:
            self._hurry.wait(LINGER_S)
            self._unsent += self._read()
        if not self._outcomes and not self._barriers:
            self._hurry.clear()

    def _read(self) -> list[tuple[int, Entry]]:
        try:
            return self.journal.read(READ_ENTRIES_MAX, READ_BYTES_MAX)
        except Damaged as damaged:
            lost = self.journal.skip_damaged()
            self.lost += lost
            _log.error("%s %d entries were set aside.", damaged.message, lost)
            return []

    def _next_parcel(self) -> tuple[Parcel, int]:
        """The next request, and the number of its last entry. One that was begun before is made the same again."""
        first, entry = self._unsent[0]
        begun = self.journal.sent if self.journal.sent >= first else 0
        offered = [entry]
        if entry.lane and first > self._alone_until:
            for seq, following in self._unsent[1:]:
                if following.lane != entry.lane or (begun and seq > begun):
                    break
                offered.append(following)
        if begun == first:
            offered = [entry]
        parcel = (
            self._pack([self.provisional.resolve_entry(each) for each in offered])
            if entry.lane
            else pack_one([self.provisional.resolve_entry(entry)])
        )
        return parcel, self._unsent[parcel.count - 1][0]

    def _send(self, entry: Entry, parcel: Parcel, key: str) -> Answer:
        body: bytes | Path = self._file(entry) if entry.attachment else parcel.body
        return self._carrier.carry(parcel.method, parcel.path, {**parcel.headers, "Idempotency-Key": key}, body)

    def _file(self, entry: Entry) -> bytes | Path:
        """A body in a file; in a small one (a model's description) provisional ids are replaced too."""
        path = self.journal.attachment(entry)
        return path if entry.attachment_bytes > RESOLVED_BYTES_MAX else self.provisional.resolve(path.read_bytes())

    def _settle(self, count: int, answer: Answer) -> None:
        """The server has spoken about the first entries: forget them, and tell who waits.

        What was refused is kept, unless whoever asked for it is told.
        """
        seq, entry = self._unsent[0]
        made = self._name_made(entry, answer) if entry.makes else ""  # may find the server away: before all else
        settled, self._unsent = self._unsent[:count], self._unsent[count:]
        with self._lock:
            self.is_away = False
            waiting = [self._outcomes.pop(number, None) for number, _ in settled]
            barriers = [self._barriers.pop(number) for number in list(self._barriers) if number <= settled[-1][0]]
        if made:
            self.provisional.learn(entry.makes, made)
        elif not answer.is_success:
            self._on_refused(entry)
            if waiting[0] is None:
                self._refuse(seq, entry, answer)
        self.journal.acknowledge(settled[-1][0])
        for outcome in waiting:
            if outcome is not None:
                _tell(outcome, answer)
        for barrier in barriers:
            _tell(barrier, None)

    def _refuse(self, seq: int, entry: Entry, answer: Answer) -> None:
        message = answer.body.decode(errors="replace")[:MESSAGE_LENGTH_MAX]
        self.refused += 1
        _log.error("%s %s was refused (%d): %s", entry.method, entry.path, answer.status, message)
        self.journal.refuse(Refusal(seq=seq, status=answer.status, message=message, entry=entry))

    def _gone(self, why: str) -> None:
        """Whoever waits for an answer is told that there is none yet."""
        with self._lock:
            if not self.is_away:
                _log.warning("the server is away (%s); what is logged waits in %s", why, self.journal.folder)
            self.is_away = True
            self.why_away = why
            left: list[Future[Any]] = [*self._outcomes.values(), *self._barriers.values()]
            self._outcomes, self._barriers = {}, {}
        for outcome in left:
            _tell(outcome, None)


def _tell(waiting: "Future[Any]", result: Any) -> None:
    """Hand the result over, unless nobody waits any more."""
    if waiting.set_running_or_notify_cancel():
        waiting.set_result(result)
