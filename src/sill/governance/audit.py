"""Finds what was done to the log behind Sill's back: edits, swaps, insertions by the hash chain, cut tails by signed heads.

A head says "event N had hash H" and is signed with the platform's key. It lies outside the database, in
`audit-heads.jsonl`; copied elsewhere, it binds whoever holds the database and the home too.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from sill.core.events import Event
from sill.core.values import Value
from sill.governance.types import AuditReport
from sill.safety.signing import Signer, verify
from sill.stores.database import Database
from sill.stores.database.chain import GENESIS_HASH, row_hash
from sill.stores.database.schema import events

EVENTS_PER_PAGE = 1_000


class AuditHead(Value, frozen=True, kw_only=True):
    """Where the log stood at a time."""

    seq: int
    hash: str
    at_us: int
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return b"sill-audit-head-v1\n" + msgspec.json.encode([self.seq, self.hash, self.at_us])


class AuditHeads:
    """The file of signed heads.

    Args:
        path: `audit-heads.jsonl`; made when the first head is added.
        signer: whose signature heads carry.
    """

    def __init__(self, path: Path, signer: Signer) -> None:
        self.path = path
        self._signer = signer

    def add(self, seq: int, head_hash: str, at_us: int) -> AuditHead:
        """Sign a head and append it, durably."""
        unsigned = AuditHead(seq=seq, hash=head_hash, at_us=at_us)
        head = msgspec.structs.replace(unsigned, signature=self._signer.sign(unsigned.signed_bytes()))
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():  # a kill in the middle of the last line must not spoil this one
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            else:
                torn = False
            file.write((b"\n" if torn else b"") + msgspec.json.encode(head) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return head

    def read(self) -> tuple[dict[int, str], str]:
        """Hashes by event number from all heads, and what is wrong with the file (empty: nothing)."""
        known: dict[int, str] = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                head = msgspec.json.decode(line, type=AuditHead)
            except msgspec.DecodeError:
                continue  # torn by a kill; a head that is missing is no proof of anything
            if not verify(self._signer.public_key_pem(), head.signed_bytes(), head.signature):
                return known, f"line {number} of {self.path.name} does not carry the platform's signature"
            if known.get(head.seq, head.hash) != head.hash:
                return known, f"{self.path.name} has two different hashes for event {head.seq}"
            known[head.seq] = head.hash
        return known, ""

    def last_seq(self) -> int:
        """Number of the event the newest head is about; 0 if there is none."""
        return max(self.read()[0], default=0)

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from file
        except FileNotFoundError:
            return


def verify_log(database: Database, heads: AuditHeads | None) -> AuditReport:
    """Walk the whole log, a page at a time, and compare it with its hashes and the signed heads. Blocks."""
    known, problem = heads.read() if heads is not None else ({}, "")
    seq, chain, checked = 0, GENESIS_HASH, 0
    while page := database.read_sync(lambda connection: _page(connection, seq)):  # noqa: B023
        for change, data, stored in page:
            if change.seq != seq + 1:
                return _broken(checked, seq, chain, seq + 1, f"event {seq + 1} is missing; event {change.seq} follows")
            expected = row_hash(chain, change, data)
            if stored != expected:
                return _broken(checked, seq, chain, change.seq, "its content does not match its hash")
            if known.get(change.seq, expected) != expected:
                return _broken(checked, seq, chain, change.seq, "its hash is not the one in the signed head")
            seq, chain, checked = change.seq, expected, checked + 1
    cut = [number for number in known if number > seq]
    if cut:
        return _broken(checked, seq, chain, seq + 1, f"the tail is cut: a signed head knows event {max(cut)}")
    if problem:
        return _broken(checked, seq, chain, max(seq, 1), problem)
    return AuditReport(checked=checked, head_seq=seq, head_hash=chain, heads_checked=len(known))


def _page(connection: Connection, after: int) -> list[tuple[Event, str, str]]:
    query = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(EVENTS_PER_PAGE)
    return [
        (
            Event(
                kind=row.kind, project=row.project, subject=row.subject, actor=row.actor, seq=row.seq, at_us=row.at_us
            ),
            row.data,
            row.hash,
        )
        for row in connection.execute(query)
    ]


def _broken(checked: int, seq: int, chain: str, at: int, problem: str) -> AuditReport:
    return AuditReport(checked=checked, head_seq=seq, head_hash=chain, broken_at=at, problem=problem)
